"""Requirements for another machine: the commands, the choice of wheels, and the messages."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import pipeline.sources.requirements
from pipeline.cache import Cache
from pipeline.errors import (
    DownloadCorrupt,
    NetworkUnavailable,
    PipelineError,
    ResolutionFailed,
    ToolMissing,
    WheelMissing,
)
from pipeline.platforms import Platform
from pipeline.process import Completed
from pipeline.settings import Suite
from pipeline.sources.requirements import (
    LockedWheel,
    compile_requirements,
    download_wheels,
    index_environment,
    resolve_wheels,
    uv_program,
)
from tests.unit.pipeline.factories import Recorder

BOOKWORM = Suite("bookworm", "3.11", (2, 36))
PIP_CONFIG = (sys.executable, "-m", "pip", "config", "list")


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what this machine is configured with."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_STRATEGY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pipeline.sources.requirements, "uv_program", lambda: "/bin/uv")


class Uv(Recorder):
    """uv that finds what it is told to: `wheels` are (url, sha256) of one package."""

    def __init__(self, document: str = "") -> None:
        super().__init__()
        self.document = document
        self.requirements = ""

    def __call__(
        self,
        argv: tuple[str, ...],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> Completed:
        done = super().__call__(argv, cwd=cwd, env=env, stdin=stdin)
        if "--output-file" in argv:
            Path(argv[argv.index("--output-file") + 1]).write_text(self.document)
            self.requirements = Path(argv[-1]).read_text()
        return done


def pylock(*wheels: str, name: str = "pkg") -> str:
    """Return a pylock.toml with a package; its wheels' digests are those of their names."""
    parts = ", ".join(
        f'{{ url = "https://index.example/files/{wheel}", size = {len(wheel)}, '
        f'hashes = {{ sha256 = "{digest(wheel)}" }} }}'
        for wheel in wheels
    )
    return (
        'lock-version = "1.0"\ncreated-by = "uv"\n'
        f'[[packages]]\nname = "{name}"\nversion = "1.0"\nwheels = [{parts}]\n'
    )


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def resolve(
    runner: Recorder,
    text: str = "pkg\n",
    *,
    suite: Suite = BOOKWORM,
    platform: Platform = Platform.ARM64,
) -> tuple[LockedWheel, ...]:
    return resolve_wheels(text, suite, platform, what="requirements.txt", runner=runner)


# What is asked


def test_uv_resolves_for_the_target_and_touches_wheels_only() -> None:
    uv = Uv(pylock("pkg-1.0-py3-none-any.whl"))
    resolve(uv, "pkg>=1\n")
    assert uv.argvs[0] == PIP_CONFIG
    *fixed, output, source = uv.argvs[1]
    assert fixed == [
        "/bin/uv", "pip", "compile", "--quiet", "--format", "pylock.toml",
        "--only-binary", ":all:", "--python-version", "3.11",
        "--python-platform", "aarch64-manylinux_2_36", "--output-file",
    ]  # fmt: skip
    assert Path(output).name == "pylock.toml"
    assert not Path(source).exists()
    assert uv.requirements == "pkg>=1\n"


@pytest.mark.parametrize(
    ("platform", "glibc", "expected"),
    [
        (Platform.AMD64, (2, 36), "x86_64-manylinux_2_36"),
        # uv knows no newer one than 2.40.
        (Platform.ARM64, (2, 41), "aarch64-manylinux_2_40"),
    ],
)
def test_the_target_is_spelled_as_uv_does(
    platform: Platform, glibc: tuple[int, int], expected: str
) -> None:
    uv = Uv(pylock("pkg-1.0-py3-none-any.whl"))
    resolve(uv, suite=Suite("x", "3.13", glibc), platform=platform)
    argv = uv.argvs[1]
    assert argv[argv.index("--python-platform") + 1] == expected
    assert argv[argv.index("--python-version") + 1] == "3.13"


@pytest.mark.parametrize("upgrade", [False, True])
def test_requirements_are_compiled_for_every_platform(tmp_path: Path, upgrade: bool) -> None:
    runner = Recorder()
    source, output = tmp_path / "a.in", tmp_path / "a.txt"
    compile_requirements(
        source, output, python="3.11", root=tmp_path, upgrade=upgrade, runner=runner
    )
    extra = ("--upgrade",) if upgrade else ()
    assert runner.argvs == [
        PIP_CONFIG,
        (
            "/bin/uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes",
            "--no-emit-index-url", "--no-emit-find-links", "--no-header",
            "--annotation-style=line", "--python-version", "3.11",
            "--output-file", str(output), *extra, str(source),
        ),
    ]  # fmt: skip


def test_requirements_that_cannot_be_compiled_are_named(tmp_path: Path) -> None:
    runner = Recorder([(0, "", ""), (1, "", CONFLICT)])
    with pytest.raises(ResolutionFailed, match=r"^dev\.in cannot be resolved: Because you"):
        compile_requirements(
            tmp_path / "dev.in",
            tmp_path / "dev.txt",
            python="3.11",
            root=tmp_path,
            upgrade=False,
            runner=runner,
        )


# Which index is asked

CONFIGURATIONS: list[tuple[str, str, dict[str, str]]] = [
    ("nothing", "", {}),
    ("unrelated", "global.timeout='60'\nglobal.cert='/ca.pem'\n", {}),
    (
        "an index",
        "global.index-url='https://index.example/simple'\n",
        {"UV_DEFAULT_INDEX": "https://index.example/simple"},
    ),
    (
        "more indexes",
        "global.extra-index-url='\\nhttps://a.example/simple\\nhttps://b.example/simple'\n",
        {
            "UV_INDEX": "https://a.example/simple https://b.example/simple",
            "UV_INDEX_STRATEGY": "unsafe-best-match",
        },
    ),
    (
        "the environment wins",
        ":env:.index-url='https://env.example'\n"
        "global.index-url='https://global.example'\n"
        "install.index-url='https://install.example'\n",
        {"UV_DEFAULT_INDEX": "https://env.example"},
    ),
    (
        "a command's own section wins over the global one",
        "global.index-url='https://global.example'\ninstall.index-url='https://install.example'\n",
        {"UV_DEFAULT_INDEX": "https://install.example"},
    ),
]


@pytest.mark.parametrize(
    ("listing", "expected"),
    [case[1:] for case in CONFIGURATIONS],
    ids=[case[0] for case in CONFIGURATIONS],
)
def test_uv_uses_the_indexes_that_pip_uses(listing: str, expected: dict[str, str]) -> None:
    runner = Recorder([(0, listing, "")])
    assert index_environment(runner) == expected
    assert runner.argvs == [PIP_CONFIG]


def test_what_is_set_for_uv_itself_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own.example")
    monkeypatch.setenv("UV_INDEX", "https://more.example")
    listing = "global.index-url='https://a.example'\nglobal.extra-index-url='https://b.example'\n"
    assert index_environment(Recorder([(0, listing, "")])) == {}


def test_a_machine_without_pip_has_no_configuration() -> None:
    assert index_environment(Recorder([(1, "global.index-url='x'", "No module named pip")])) == {}


def test_the_index_reaches_uv() -> None:
    uv = Uv(pylock("pkg-1.0-py3-none-any.whl"))
    uv.answers = [(0, "global.index-url='https://index.example'\n", ""), (0, "", "")]
    resolve(uv)
    assert uv.environments[1] == {"UV_DEFAULT_INDEX": "https://index.example"}


def test_uv_is_looked_for_beside_python_and_on_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert uv_program() == "/usr/bin/uv"
    (tmp_path / "uv").touch()
    assert uv_program() == str(tmp_path / "uv")


def test_without_uv_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(ToolMissing, match=r"uv.*requirements/dev\.txt"):
        uv_program()


# Which wheel is taken

CHOICES: list[tuple[str, Sequence[str], str]] = [
    (
        "one built for the version over the stable interface",
        ["pkg-1.0-cp38-abi3-manylinux_2_17_aarch64.whl"],
        "pkg-1.0-cp311-cp311-manylinux_2_17_aarch64.whl",
    ),
    (
        "the stable interface over pure Python",
        ["pkg-1.0-py3-none-any.whl"],
        "pkg-1.0-cp38-abi3-manylinux2014_aarch64.whl",
    ),
    (
        "the newest glibc that runs here",
        [
            "pkg-1.0-cp311-cp311-manylinux_2_17_aarch64.whl",
            "pkg-1.0-cp311-cp311-manylinux_2_39_aarch64.whl",
        ],
        "pkg-1.0-cp311-cp311-manylinux_2_28_aarch64.whl",
    ),
    (
        "a wheel with several tags",
        ["pkg-1.0-cp311-cp311-manylinux_2_17_aarch64.whl"],
        "pkg-1.0-cp311-cp311-manylinux_2_17_aarch64.manylinux_2_36_aarch64.whl",
    ),
    (
        "the highest build number",
        ["pkg-1.0-py3-none-any.whl", "pkg-1.0-2-py3-none-any.whl"],
        "pkg-1.0-10-py3-none-any.whl",
    ),
    (
        "a local version",
        ["pkg-1.0-py3-none-any.whl"],
        "pkg-1.0+cpu-cp311-cp311-linux_aarch64.whl",
    ),
    (
        "never another machine, another libc or another version",
        [
            "pkg-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
            "pkg-1.0-cp311-cp311-musllinux_1_2_aarch64.whl",
            "pkg-1.0-cp310-cp310-manylinux_2_28_aarch64.whl",
            "pkg-1.0-cp312-abi3-manylinux_2_28_aarch64.whl",
            "pkg-1.0-cp311-cp311-win_arm64.whl",
            "pkg-1.0-pp311-pypy311_pp73-manylinux_2_28_aarch64.whl",
            "pkg-1.0-py2-none-any.whl",
        ],
        "pkg-1.0-py2.py3-none-any.whl",
    ),
]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("others", "best"), [case[1:] for case in CHOICES], ids=[case[0] for case in CHOICES]
)
def test_the_best_wheel_is_taken(others: Sequence[str], best: str, backwards: bool) -> None:
    offered = [best, *others] if backwards else [*others, best]
    quoted = [name.replace("+", "%2B") for name in offered]
    (wheel,) = resolve(Uv(pylock(*quoted)))
    assert wheel.filename == best
    assert wheel.sha256 == digest(best.replace("+", "%2B"))
    assert (wheel.name, wheel.version) == ("pkg", "1.0")


@pytest.mark.parametrize(
    "only",
    [
        "pkg-1.0-cp311-cp311-musllinux_1_2_aarch64.whl",
        "pkg-1.0-cp311-cp311-manylinux_2_39_aarch64.whl",
        "pkg-1.0-cp311-cp311-manylinux_2_17_x86_64.whl",
    ],
)
def test_a_package_without_a_wheel_that_fits_is_named(only: str) -> None:
    with pytest.raises(WheelMissing, match=r"'pkg 1\.0' has no wheel that fits on linux/arm64"):
        resolve(Uv(pylock(only)))


def test_a_package_of_sources_alone_is_named() -> None:
    with pytest.raises(WheelMissing, match=r"'pkg 1\.0'"):
        resolve(Uv('[[packages]]\nname = "pkg"\nversion = "1.0"\n'))


def test_wheels_of_a_folder_are_found_by_their_path() -> None:
    hashes = f'hashes = {{ sha256 = "{digest("x")}" }}'
    (wheel,) = resolve(
        Uv(
            '[[packages]]\nname = "pkg"\nversion = "1.0"\n'
            f'wheels = [{{ path = "wheels/pkg-1.0-py3-none-any.whl", {hashes} }}]\n'
        )
    )
    assert (wheel.filename, wheel.size_bytes) == ("pkg-1.0-py3-none-any.whl", 0)


def test_the_lock_lists_wheels_by_name() -> None:
    first, second = (pylock(f"{name}-1.0-py3-none-any.whl", name=name) for name in ("z", "a"))
    found = resolve(Uv(first + second.partition('"uv"\n')[2]))
    assert [wheel.name for wheel in found] == ["a", "z"]


def test_nothing_required_is_nothing_locked() -> None:
    assert resolve(Uv('lock-version = "1.0"\n'), "") == ()


# Hashes in requirements are binding: uv prints what the index has, whatever they say.

PURE, NATIVE = "pkg-1.0-py3-none-any.whl", "pkg-1.0-cp311-cp311-manylinux_2_28_aarch64.whl"


def test_a_better_wheel_that_the_requirements_do_not_list_is_not_taken() -> None:
    text = f"pkg==1.0 \\\n    --hash=sha256:{digest(PURE)}\n"
    (wheel,) = resolve(Uv(pylock(PURE, NATIVE)), text)
    assert wheel.filename == PURE


def test_an_index_whose_wheels_the_requirements_do_not_list_is_not_trusted() -> None:
    text = f"pkg==1.0 --hash=sha256:{'0' * 64}\n"
    with pytest.raises(ResolutionFailed, match=r"'pkg 1\.0'.*hash") as caught:
        resolve(Uv(pylock(PURE, NATIVE)), text)
    assert "requirements.txt" in caught.value.message


# What uv says, recorded from 0.13

NO_WHEELS = """\
error: No solution found when resolving dependencies
  cause: Because all versions of pycrypto have no usable wheels and you require pycrypto, we can \
conclude that your requirements are unsatisfiable.

hint: Wheels are required for `pycrypto` because building from source is disabled for all \
packages (i.e., with `--no-build`)
"""
OLD_WHEELS = """\
error: No solution found when resolving dependencies
  cause: Because pywin32<=302 has no wheels with a matching Python ABI tag (e.g., `cp311`) and \
only the following versions of pywin32 are available:
             pywin32<=302
             pywin32>=303
         we can conclude that pywin32<303 cannot be used.
         And because pywin32>=303 has no wheels with a matching platform tag (e.g., \
`manylinux_2_36_aarch64`) and you require pywin32, we can conclude that your requirements are \
unsatisfiable.

hint: Wheels are available for `pywin32` (v312) on the following platforms: `win32`, `win_amd64`
"""
UNKNOWN = """\
error: No solution found when resolving dependencies
  cause: Because this-is-nothing was not found in the package registry and you require \
this-is-nothing, we can conclude that your requirements are unsatisfiable.
"""
TOO_HIGH = """\
error: No solution found when resolving dependencies
  cause: Because only bottle<=0.13.4 is available and you require bottle>=99, we can conclude \
that your requirements are unsatisfiable.
"""
CONFLICT = """\
error: No solution found when resolving dependencies
  cause: Because you require bottle<0.13 and bottle>=0.13, we can conclude that your requirements \
are unsatisfiable.
"""
UNREACHABLE = """\
error: Request failed after 3 retries in 10.5s
  cause: Failed to fetch: https://index.example/simple/bottle/
  cause: error sending request for url (https://index.example/simple/bottle/)
  cause: client error (Connect)
  cause: tcp connect error
  cause: Connection refused (os error 111)
"""
OFFLINE = """\
error: No solution found when resolving dependencies
  cause: Because bottle was not found in the cache and you require bottle, we can conclude that \
your requirements are unsatisfiable.

hint: Packages were unavailable because the network was disabled. When the network is disabled, \
registry packages may only be read from the cache.
"""
UNPARSABLE = """\
error: Couldn't parse requirement in `requirements.txt` at position 0
  cause: Expected one of `@`, `(`, `<`, `=`, `>`, `~`, `!`, `;`, found `w`
"""

UV_ERRORS: list[tuple[str, type[PipelineError], str]] = [
    (NO_WHEELS, WheelMissing, "'pycrypto' has no wheel that fits on linux/arm64 with Python 3.11"),
    (OLD_WHEELS, WheelMissing, "'pywin32' has no wheel"),
    (UNKNOWN, ResolutionFailed, "requires 'this-is-nothing', which the package index does not"),
    (TOO_HIGH, ResolutionFailed, "Because only bottle<=0.13.4 is available and you require"),
    (CONFLICT, ResolutionFailed, "Because you require bottle<0.13 and bottle>=0.13"),
    (UNREACHABLE, NetworkUnavailable, "requirements.txt cannot be resolved"),
    (OFFLINE, NetworkUnavailable, "requirements.txt cannot be resolved"),
    (UNPARSABLE, ResolutionFailed, "Expected one of"),
    ("", ResolutionFailed, "no output"),
    ("error: something new\n", ResolutionFailed, "error: something new"),
]


@pytest.mark.parametrize(
    ("stderr", "expected", "words"),
    UV_ERRORS,
    ids=["sources", "tags", "unknown", "version", "conflict", "network", "offline", "syntax",
         "silent", "other"],
)  # fmt: skip
def test_what_uv_says_becomes_one_line_with_a_next_step(
    stderr: str, expected: type[PipelineError], words: str
) -> None:
    with pytest.raises(expected) as caught:
        resolve(Recorder([(0, "", ""), (1, "", stderr)]))
    assert type(caught.value) is expected
    assert words in caught.value.message
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert "index.example" not in str(caught.value)


# Downloads


class Pip(Recorder):
    """pip that writes the files it has into --dest."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__()
        self.files = files
        self.listing = ""

    def __call__(
        self,
        argv: tuple[str, ...],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> Completed:
        folder = Path(argv[argv.index("--dest") + 1])
        self.listing = Path(argv[-1]).read_text()
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return super().__call__(argv, cwd=cwd, env=env, stdin=stdin)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def locked(name: str, data: bytes) -> LockedWheel:
    filename = f"{name}-1.0-py3-none-any.whl"
    return LockedWheel(name, "1.0", filename, hashlib.sha256(data).hexdigest(), len(data))


A, B = locked("a", b"wheel a"), locked("b", b"wheel b")


def test_pip_downloads_what_the_target_can_run(cache: Cache) -> None:
    pip = Pip({A.filename: b"wheel a"})
    download_wheels([A], BOOKWORM, Platform.ARM64, cache, runner=pip)
    (argv,) = pip.argvs
    assert argv[:13] == (
        sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input",
        "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes",
        "--platform", "manylinux_2_36_aarch64",
    )  # fmt: skip
    start = argv.index("--python-version")
    tags = argv[11:start]
    assert set(tags[::2]) == {"--platform"}
    assert tags[1::2] == (*Platform.ARM64.wheel_platform_tags((2, 36)), "any")
    folder = Path(argv[-3])
    assert argv[start:] == (
        "--python-version", "3.11", "--implementation", "cp",
        "--abi", "cp311", "--abi", "abi3", "--abi", "none",
        "--dest", str(folder), "--requirement", str(folder / "requirements.txt"),
    )  # fmt: skip
    assert pip.listing == f"a==1.0 --hash=sha256:{A.sha256}\n"
    assert not folder.exists()
    assert cache.blob_path(A.sha256).read_bytes() == b"wheel a"


def test_only_what_the_cache_lacks_is_downloaded(cache: Cache) -> None:
    cache.store(b"wheel a")
    pip = Pip({B.filename: b"wheel b"})
    download_wheels([A, B], BOOKWORM, Platform.AMD64, cache, runner=pip)
    assert pip.listing == f"b==1.0 --hash=sha256:{B.sha256}\n"
    download_wheels([A, B], BOOKWORM, Platform.AMD64, cache, runner=pip)
    assert len(pip.argvs) == 1


@pytest.mark.parametrize(
    "files", [{}, {A.filename: b"another"}, {"a-1.0-cp311-none-any.whl": b"wheel a"}]
)
def test_a_download_that_is_not_the_locked_one_is_refused(
    cache: Cache, files: dict[str, bytes]
) -> None:
    with pytest.raises(DownloadCorrupt, match=r"a-1\.0-py3-none-any\.whl"):
        download_wheels([A], BOOKWORM, Platform.AMD64, cache, runner=Pip(files))
    assert cache.verified(A.sha256) is None


# What pip says, recorded from 23.2

MISMATCH = """\
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated \
the package versions, please update the hashes. Otherwise, examine the package contents \
carefully; someone may have tampered with them.
    a==1.0 from https://index.example/files/a-1.0-py3-none-any.whl (from -r a.txt (line 1)):
        Expected sha256 0000
             Got        0456
"""
REFUSED = """\
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after \
connection broken by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPConnection object \
at 0x7f2e73ec5ad0>: Failed to establish a new connection: [Errno 111] Connection refused')': \
/simple/a/
ERROR: Could not find a version that satisfies the requirement a==1.0 (from versions: none)
ERROR: No matching distribution found for a==1.0
"""
NO_INDEX = """\
ERROR: Could not find a version that satisfies the requirement a==1.0 (from versions: none)
ERROR: No matching distribution found for a==1.0
"""
YANKED = """\
ERROR: Could not find a version that satisfies the requirement a==1.0 (from versions: 0.8, 0.9)
ERROR: No matching distribution found for a==1.0
"""
NO_PIP = f"{sys.executable}: No module named pip\n"

PIP_ERRORS: list[tuple[str, str, type[PipelineError], str]] = [
    ("mismatch", MISMATCH, DownloadCorrupt, "a 1.0, b 1.0"),
    ("refused", REFUSED, NetworkUnavailable, "neither cached nor reachable: a 1.0, b 1.0"),
    ("offline", NO_INDEX, NetworkUnavailable, "neither cached nor reachable: a 1.0, b 1.0"),
    ("yanked", YANKED, NetworkUnavailable, "No matching distribution found for a==1.0"),
    ("no pip", NO_PIP, ToolMissing, "pip, which downloads wheels"),
]


@pytest.mark.parametrize(
    ("stderr", "expected", "words"),
    [case[1:] for case in PIP_ERRORS],
    ids=[case[0] for case in PIP_ERRORS],
)
def test_what_pip_says_becomes_one_line_with_a_next_step(
    cache: Cache, stderr: str, expected: type[PipelineError], words: str
) -> None:
    runner = Recorder([(1, "", stderr)])
    with pytest.raises(expected) as caught:
        download_wheels([A, B], BOOKWORM, Platform.AMD64, cache, runner=runner)
    assert type(caught.value) is expected
    assert words in caught.value.message
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert "index.example" not in str(caught.value)
