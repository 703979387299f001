"""What the command line says to bad input, and what it leaves behind when it is cut short."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.lock import read_lock
from pipeline.platforms import Platform
from tests.integration.building import (
    ROOT,
    Checkout,
    assert_refused,
    copy_repository,
    digests,
    seed_cache,
    whole_layout,
)

DEAD_PROXY = "http://127.0.0.1:9"
OFFLINE = {
    "http_proxy": DEAD_PROXY,
    "https_proxy": DEAD_PROXY,
    "HTTP_PROXY": DEAD_PROXY,
    "HTTPS_PROXY": DEAD_PROXY,
    "no_proxy": "",
    "NO_PROXY": "",
}
NOWHERE = {
    **OFFLINE,
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_INDEX_URL": f"{DEAD_PROXY}/simple",
    "PIP_EXTRA_INDEX_URL": None,
    "PIP_FIND_LINKS": None,
    "PIP_RETRIES": "0",
    "UV_DEFAULT_INDEX": f"{DEAD_PROXY}/simple",
    "UV_INDEX": f"{DEAD_PROXY}/more",
    "UV_HTTP_RETRIES": "0",
}
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="mounting a small or read-only file system needs root. "
    "Not checked: what a full disk leaves of the output",
)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Return an output folder that is not there yet."""
    return tmp_path / "output"


@pytest.fixture
def copy(repository: Checkout, tmp_path: Path) -> Checkout:
    """Return a copy of the repository that a test may spoil."""
    return replace(repository, folder=copy_repository(tmp_path / "repository"))


@pytest.fixture(scope="module")
def warm(repository: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a copy of the repository, with everything that production needs in the cache."""
    folder = copy_repository(tmp_path_factory.mktemp("warm") / "repository")
    checkout = replace(repository, folder=folder)
    checkout.build("--platform", "all", "--output", tmp_path_factory.mktemp("warm-output"))
    return checkout


def edit(checkout: Checkout, name: str, old: str, new: str) -> None:
    """Replace `old`, which is there, by `new` in a file of the repository."""
    path = checkout.folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


IMAGES = "deployment/images.toml"
LOCK = "deployment/images.lock"


@pytest.mark.parametrize(
    ("flags", "exit_code", "expected"),
    [
        (["--platform", "arm65"], 10, "platform 'arm65' is not supported; did you mean 'arm64'?"),
        (["--platform", "windows/amd64"], 10, "'windows/amd64'"),
        (["--platform", "amd64,,armm64"], 10, "'armm64'"),
        (["--target", "prodution"], 11, "did you mean 'production'?"),
        (["--suite", "bookwurm"], 12, "did you mean 'bookworm'?"),
        (["--suite", "sid"], 12, "choose "),
        (["--format", "ocy"], 15, "did you mean 'oci'?"),
        (["--entrypoint", "python3"], 15, "--entrypoint"),
        (["--source", "/does/not/exist"], 50, "/does/not/exist"),
    ],
    ids=lambda value: "=".join(value) if isinstance(value, list) else None,
)
def test_flags_that_cannot_be_used(
    repository: Checkout, output: Path, flags: list[str], exit_code: int, expected: str
) -> None:
    done = repository.invoke("build", *flags, "--output", output)
    assert_refused(done, exit_code, expected, output=output)


def test_source_date_epoch_that_is_no_number(repository: Checkout, output: Path) -> None:
    checkout = replace(repository, environment={"SOURCE_DATE_EPOCH": "yesterday"})
    done = checkout.invoke("build", "--output", output)
    assert_refused(done, 15, "SOURCE_DATE_EPOCH is 'yesterday'", output=output)


@pytest.mark.parametrize(
    ("old", "new", "exit_code", "expected"),
    [
        ("schema = 1\n", "schema = 1\nplatfroms = []\n", 12, "did you mean 'platforms'?"),
        (
            "[images.production]\n",
            "[images.production]\nentry-point = []\n",
            12,
            "unknown key 'images.production.entry-point'; did you mean 'entrypoint'?",
        ),
        ("schema = 1\n", "schema = 2\n", 12, "schema"),
        ('platforms = ["linux/amd64"', 'platforms = ["linux/amd65"', 12, "platforms"),
        ("schema = 1\n", "schema = \n", 13, "is not TOML"),
        ('from = "base"', 'from = "bsae"', 12, "did you mean 'base'?"),
        ('from = "base"', 'from = "python:3.11-slim"', 21, "images.production"),
        ('packages = ["base-files", ', 'packages = ["base-files", "git", ', 21, "images.base"),
    ],
    ids=["unknown key", "unknown key of an image", "schema", "platform", "not TOML",
         "unknown base", "base in a registry", "stale"],
)  # fmt: skip
def test_descriptions_that_cannot_be_used(
    copy: Checkout, output: Path, old: str, new: str, exit_code: int, expected: str
) -> None:
    edit(copy, IMAGES, old, new)
    done = copy.invoke("build", "--output", output)
    assert_refused(done, exit_code, expected, output=output)


def test_description_that_is_missing(copy: Checkout, output: Path) -> None:
    (copy.folder / IMAGES).unlink()
    done = copy.invoke("build", "--output", output)
    assert_refused(done, 13, IMAGES, output=output)


def test_lock_that_is_missing(copy: Checkout, output: Path) -> None:
    (copy.folder / LOCK).unlink()
    done = copy.invoke("build", "--output", output)
    assert_refused(done, 20, "does not exist; run 'invoke lock'", output=output)


def test_lock_that_is_stale_for_its_requirements(copy: Checkout, output: Path) -> None:
    edit(copy, "requirements/production.txt", "bottle==", "# a comment\nbottle==")
    done = copy.invoke("build", "--output", output)
    assert_refused(done, 21, "requirements/production.txt changed", output=output)


def test_lock_with_another_hash(copy: Checkout, output: Path) -> None:
    path = copy.folder / LOCK
    text = path.read_text()
    (sha256, *_) = re.findall(r'"sha256": "([0-9a-f]{64})"', text)
    path.write_text(text.replace(sha256, sha256[::-1]))
    done = copy.invoke("build", "--output", output)
    assert_refused(done, 22, "was changed after it was written", output=output)


@pytest.mark.parametrize("text", ["", "{}", "[]", "not JSON", '{"schema": 1, "digest": "x"}'])
def test_lock_that_is_no_lock(copy: Checkout, output: Path, text: str) -> None:
    (copy.folder / LOCK).write_text(text)
    done = copy.invoke("build", "--output", output)
    assert_refused(done, 22, LOCK, output=output)


@pytest.mark.parametrize(
    ("package", "exit_code"),
    [("no-such-package-anywhere", 30), ("memtest86+", 31)],
    ids=["nowhere", "on one platform only"],
)
def test_locking_a_package_that_is_not_to_be_had(
    copy: Checkout, package: str, exit_code: int
) -> None:
    before = (copy.folder / LOCK).read_bytes()
    edit(copy, IMAGES, 'packages = ["base-files", ', f'packages = ["base-files", "{package}", ')
    # What it would resolve first, and does not concern the package.
    for path in (copy.folder / "requirements").glob("*.in"):
        path.unlink()
    done = copy.invoke("lock")
    assert_refused(done, exit_code, f"'{package}'", output=None)
    assert (copy.folder / LOCK).read_bytes() == before


def test_damaged_cache_is_repaired(warm: Checkout, tmp_path: Path, output: Path) -> None:
    checkout = replace(warm, cache=tmp_path / "cache")
    seed_cache(warm.cache, checkout.cache, copy=True)
    whole = digests(checkout.build("--output", output))
    # Half of all blobs, and one record: packages, wheels and layers alike.
    dice = random.Random(0)
    blobs = sorted((checkout.cache / "blobs").rglob("*"))
    for path in blobs:
        if path.is_file() and dice.random() < 0.5:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
    record = next((checkout.cache / "records" / "layers").glob("*.json"))
    record.write_bytes(record.read_bytes()[:-1])
    report = checkout.build("--output", tmp_path / "second")
    assert report["cache_repaired"]
    assert digests(report) == whole
    assert whole_layout(tmp_path / "second" / "production") == whole["production"]
    assert not checkout.build("--output", tmp_path / "third")["cache_repaired"]


def without_network(checkout: Checkout) -> Checkout:
    """Return the checkout with no network at all where we may, else with a proxy that is dead."""
    if os.geteuid() == 0 and shutil.which("unshare"):
        return replace(checkout, prefix=("unshare", "--net"), environment=NOWHERE)
    return replace(checkout, environment=NOWHERE)


def test_warm_cache_needs_no_network(warm: Checkout, tmp_path: Path, output: Path) -> None:
    expected = digests(warm.build("--platform", "all", "--output", output))
    offline = without_network(warm)
    assert digests(offline.build("--platform", "all", "--output", tmp_path / "again")) == expected


def test_cold_cache_without_network_says_what_it_needs(
    warm: Checkout, tmp_path: Path, output: Path
) -> None:
    cold = replace(without_network(warm), cache=tmp_path / "cache")
    cold = replace(
        cold, environment={**NOWHERE, "ACCELERAPP_DEBIAN_MIRROR": f"{DEAD_PROXY}/debian"}
    )
    done = cold.invoke("build", "--output", output)
    assert_refused(done, 41, "flit-core", "index", output=output)
    # The same, but for one Debian package that is missing where the rest is cached.
    cold = replace(cold, cache=tmp_path / "nearly-warm")
    shutil.copytree(warm.cache, cold.cache, symlinks=True)
    shutil.rmtree(cold.cache / "records" / "layers")
    package = (
        read_lock(ROOT / LOCK, Path(LOCK)).contents("bookworm", Platform.AMD64, "base").packages[0]
    )
    (cold.cache / "blobs" / "sha256" / package.sha256[:2] / package.sha256).unlink()
    done = cold.invoke("build", "--platform", "amd64", "--output", output)
    assert_refused(done, 41, package.name, "ACCELERAPP_", output=output)


def write_project(folder: Path, dependencies: list[str], **project: object) -> Path:
    """Write a small project with a console script."""
    folder.mkdir()
    lines = [
        "[build-system]",
        'requires = ["flit_core>=3.12,<4"]',
        'build-backend = "flit_core.buildapi"',
        "[project]",
        'name = "small"',
        'version = "1"',
        'description = "Small."',
        f"dependencies = {json.dumps(dependencies)}",
        *(f"{key} = {json.dumps(value)}" for key, value in project.items()),
        "[project.scripts]",
        'small = "small:main"',
    ]
    (folder / "pyproject.toml").write_text("\n".join(lines) + "\n")
    (folder / "small.py").write_text("def main():\n    print('small')\n")
    return folder


def test_source_that_is_no_python_project(
    repository: Checkout, tmp_path: Path, output: Path
) -> None:
    (tmp_path / "README.md").write_text("Nothing here.\n")
    done = repository.invoke("build", "--source", tmp_path, "--output", output)
    assert_refused(done, 50, "neither pyproject.toml nor setup.py", output=output)


def test_source_whose_pyproject_is_not_toml(
    repository: Checkout, tmp_path: Path, output: Path
) -> None:
    source = write_project(tmp_path / "small", [])
    (source / "pyproject.toml").write_text("[project\n")
    done = repository.invoke("build", "--source", source, "--output", output)
    assert_refused(done, 50, "is not TOML", output=output)


def test_source_without_anything_to_run(repository: Checkout, tmp_path: Path, output: Path) -> None:
    source = write_project(tmp_path / "small", [])
    edit(replace(repository, folder=source), "pyproject.toml", "[project.scripts]\n", "[x]\n")
    done = repository.invoke("build", "--source", source, "--output", output)
    assert_refused(done, 53, "--entrypoint", output=output)


def test_source_whose_back_end_fails(repository: Checkout, tmp_path: Path, output: Path) -> None:
    source = write_project(tmp_path / "small", [])
    (source / "small.py").write_text("def main(:\n")
    (source / "pyproject.toml").write_text(
        (source / "pyproject.toml").read_text().replace('version = "1"', 'dynamic = ["version"]')
    )
    done = repository.invoke("build", "--source", source, "--output", output)
    assert_refused(done, 51, "flit_core", output=output)


def test_source_that_wants_another_python(
    repository: Checkout, tmp_path: Path, output: Path
) -> None:
    source = write_project(tmp_path / "small", [], **{"requires-python": "<3.9"})
    done = repository.invoke("build", "--source", source, "--output", output)
    assert_refused(done, 12, "requires Python <3.9", output=output)


@pytest.mark.parametrize(
    ("dependency", "exit_code"),
    [
        ("docopt==0.6.2", 35),
        ("intel-openmp==2024.2.1", 35),
        ("no-such-distribution-anywhere-0", 36),
        ("bottle>=0.13.2,<0.13", 36),
    ],
    ids=["source only", "no wheel for arm64", "unknown", "no such version"],
)
def test_source_with_a_dependency_that_is_not_to_be_had(
    repository: Checkout, tmp_path: Path, output: Path, dependency: str, exit_code: int
) -> None:
    source = write_project(tmp_path / "small", [dependency])
    done = repository.invoke(
        *("build", "--source", source, "--platform", "arm64", "--output", output)
    )
    name = re.split("[=<>]", dependency)[0]
    assert_refused(done, exit_code, name, output=output)


def test_output_that_is_something_else(repository: Checkout, output: Path) -> None:
    output.write_text("a file")
    done = repository.invoke("build", "--output", output)
    assert_refused(done, 42, str(output), output=None)
    assert output.read_text() == "a file"


def test_output_that_holds_other_things(repository: Checkout, output: Path) -> None:
    precious = output / "production" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    done = repository.invoke("build", "--output", output)
    assert_refused(done, 42, "not an image layout", output=None)
    assert [path for path in output.rglob("*") if path.is_file() and path.name[0] != "."] == [
        precious
    ]


@needs_root
@pytest.mark.parametrize(
    ("options", "reason"),
    [("ro", "read-only file system"), ("size=4m", "no space left on device")],
    ids=["read-only", "full"],
)
@pytest.mark.parametrize("flag", ["--output", "--archive"])
def test_disk_that_takes_nothing(
    repository: Checkout, tmp_path: Path, options: str, reason: str, flag: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # A mount that only this command sees; what is left on it is told before it goes.
    script = (
        f"mount -t tmpfs -o {options} small {disk} || exit 99\n"
        f'"$@"; code=$?; find {disk} -mindepth 1 -type f -size +0; exit $code'
    )
    inside = replace(repository, prefix=("unshare", "--mount", "sh", "-c", script, "sh"))
    elsewhere = ("--output", tmp_path / "elsewhere") if flag == "--archive" else ()
    done = inside.invoke("build", *elsewhere, flag, disk / "image")
    assert_refused(done, 42, reason, output=None)
    assert str(disk) not in done.stdout, "something is left on the disk"


def interrupt(
    checkout: Checkout, output: Path, number: signal.Signals, after_s: float
) -> tuple[int, str]:
    """Start a build and send its process group a signal; return its exit code and stderr."""
    process = checkout.start("build", "--platform", "all", "--output", output)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, number)
    _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
@pytest.mark.parametrize("layers", ["to build", "cached"])
def test_interrupted_build_leaves_old_or_new(
    warm: Checkout, tmp_path: Path, output: Path, number: signal.Signals, layers: str
) -> None:
    old_time = replace(warm, environment={"SOURCE_DATE_EPOCH": "1700000000"})
    old = digests(old_time.build("--platform", "all", "--output", output))["production"]
    begin_s = time.monotonic()
    new = digests(warm.build("--platform", "all", "--output", tmp_path / "new"))["production"]
    cached_s = time.monotonic() - begin_s
    assert old != new
    # Layers take a few seconds when they have to be made; cached, the output takes its share.
    longest_s = 8.0 if layers == "to build" else cached_s
    dice = random.Random(f"{number.name} {layers}")
    codes = []
    for attempt in range(4 if layers == "to build" else 8):
        checkout = warm
        if layers == "to build":
            checkout = replace(warm, cache=tmp_path / f"cache-{attempt}")
            seed_cache(warm.cache, checkout.cache)
        after_s = dice.uniform(0.3, 1.0) * longest_s
        code, stderr = interrupt(checkout, output, number, after_s)
        codes.append(code)
        if code == 0:
            longest_s *= 0.7  # It was done by then: this machine is faster than that.
        # 1 and -SIGINT: it came while Invoke or Python was starting, or done, and nobody was
        # there to say 130.
        expected = (0, 1, 130, -number) if number is signal.SIGINT else (0, -number)
        assert code in expected, stderr
        if code != -signal.SIGINT:
            assert "Traceback" not in stderr, f"after {after_s:.2f} s:\n{stderr}"
        assert whole_layout(output / "production") in (old, new), f"after {after_s:.2f} s"
        again = digests(checkout.build("--platform", "all", "--output", output))
        assert again == {"production": new}
        assert whole_layout(output / "production") == new
        provenance = output / "production.provenance.json"
        subject = json.loads(provenance.read_bytes())["subject"][0]["digest"]
        assert subject == {"sha256": new.removeprefix("sha256:")}
        left = {path.name for path in output.iterdir()} - {".lock"}
        assert left == {"production", provenance.name}
        assert digests(old_time.build("--platform", "all", "--output", output))
        shutil.rmtree(tmp_path / f"cache-{attempt}", ignore_errors=True)
    assert set(codes) != {0}, "no build was interrupted"


def test_two_builds_at_once_share_an_output(warm: Checkout, tmp_path: Path, output: Path) -> None:
    expected = digests(warm.build("--platform", "all", "--output", tmp_path / "alone"))
    checkout = replace(warm, cache=tmp_path / "cache")
    seed_cache(warm.cache, checkout.cache)
    command = ("build", "--json", "--platform", "all", "--output", output)
    builds = [checkout.start(*command) for _ in range(2)]
    for process in builds:
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        assert digests(json.loads(stdout)) == expected
    assert whole_layout(output / "production") == expected["production"]


def test_two_different_builds_at_once_leave_one_of_them(warm: Checkout, output: Path) -> None:
    other = replace(warm, environment={"SOURCE_DATE_EPOCH": "1700000000"})
    command = ("build", "--json", "--platform", "all", "--output", output)
    made = set()
    builds = [checkout.start(*command) for checkout in (warm, other, warm, other)]
    for process in builds:
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        made.update(digests(json.loads(stdout)).values())
    assert len(made) == 2
    assert whole_layout(output / "production") in made


def test_help_of_every_task_needs_nothing(repository: Checkout) -> None:
    listed = repository.invoke("--list", "--list-format", "json")
    names = [task["name"] for task in json.loads(listed.stdout)["tasks"]]
    assert {"build", "lock", "images"} <= set(names)
    for name in names:
        done = repository.invoke("--help", name)
        assert (done.returncode, done.stderr) == (0, "")
