"""The bytes of the layers: nothing of this machine in them, everything that a container needs."""

from __future__ import annotations

import json
import os
import stat
import struct
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from pipeline.platforms import Platform
from tests.integration.building import (
    PLATFORMS,
    PYTHON_TARGETS,
    SETTINGS,
    TARGETS,
    BuiltImage,
    Checkout,
    digests,
    read_image,
    resolve,
    seed_cache,
    whole_layout,
)
from tests.integration.conftest import RunImage

LoadedImage = Callable[[str, Platform], str]

EXPECTED_MODES = {
    "tmp": 0o1777,
    "var/tmp": 0o1777,
    "root": 0o700,
    "etc/passwd": 0o644,
    "etc/group": 0o644,
    "etc/ld.so.cache": 0o644,
}

NEED_A_SHELL = {"/bin/sh", "/bin/bash", "/usr/bin/env"}

every_image = pytest.mark.parametrize(
    ("target", "platform"),
    [(target, platform) for target in TARGETS for platform in PLATFORMS],
    ids=lambda value: value if isinstance(value, str) else value.architecture,
)
every_python_image = pytest.mark.parametrize(
    ("target", "platform"),
    [(target, platform) for target in PYTHON_TARGETS for platform in PLATFORMS],
    ids=lambda value: value if isinstance(value, str) else value.architecture,
)


@pytest.fixture(scope="module")
def build_places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return folders for a build whose names are found nowhere by chance."""
    folder = tmp_path_factory.mktemp("a-host-folder-of-the-build")
    places = {name: folder / name for name in ("cache", "temporary", "layouts")}
    places["temporary"].mkdir()
    return places


@pytest.fixture(scope="module")
def fresh(repository: Checkout, layouts: Path, build_places: dict[str, Path]) -> Path:
    """Return layouts whose every layer was made here and now, in `build_places`."""
    cache_folder = seed_cache(repository.cache, build_places["cache"])
    checkout = Checkout(
        repository.folder,
        cache_folder,
        environment={"TMPDIR": str(build_places["temporary"])},
    )
    report = checkout.build(
        *("--target", "all", "--platform", "all", "--output", build_places["layouts"])
    )
    reused = [layer for image in report["images"] for part in image["platforms"]
              for layer in part["layers"] if layer["reused"]]  # fmt: skip
    assert not reused
    assert digests(report) == {target: whole_layout(layouts / target) for target in TARGETS}
    return build_places["layouts"]


@pytest.fixture(scope="module")
def image_of(fresh: Path) -> Callable[[str, Platform], BuiltImage]:
    """Return a function from target and platform to what was built freshly."""

    @cache
    def read(target: str, platform: Platform) -> BuiltImage:
        return read_image(fresh / target, platform)

    return read


ImageOf = Callable[[str, Platform], BuiltImage]


def host_paths(repository: Checkout, build_places: dict[str, Path]) -> set[str]:
    """Return paths of this machine that no image has for reasons of its own."""
    paths = {
        repository.cache,
        repository.folder,
        *build_places.values(),
        Path(sys.prefix),
        Path(sys.base_prefix),
        Path(sys.executable),
    }
    # The usual place of Debian's python, and of root's files, is a place of images too.
    found = {str(path) for path in paths if not str(path).startswith(("/usr", "/bin"))}
    home = str(Path.home())
    found.add(f"{home}/.cache/" if home in ("/", "/root") else f"{home}/")
    return found


@every_image
def test_no_layer_knows_the_machine_that_made_it(
    repository: Checkout,
    build_places: dict[str, Path],
    image_of: ImageOf,
    target: str,
    platform: Platform,
) -> None:
    needles = [path.encode() for path in host_paths(repository, build_places)]
    assert len(needles) >= 5
    found = [
        (member.name, needle)
        for member, data in image_of(target, platform).files()
        for needle in needles
        if needle in data
    ]
    assert not found
    names = [
        f"{member.name} -> {member.linkname}"
        for member in image_of(target, platform).tree().values()
    ]
    assert not [name for name in names for needle in needles if needle.decode() in name]


@every_image
def test_every_command_s_shebang_leads_to_a_program_of_the_image(
    image_of: ImageOf, target: str, platform: Platform
) -> None:
    image = image_of(target, platform)
    tree = image.tree()
    path = dict(text.split("=", 1) for text in image.config["config"]["Env"])["PATH"].split(":")
    folders = {folder.lstrip("/") for folder in path}
    commands = []
    dead = {}
    for member, data in image.files():
        # Modules of the standard library are executable too, and nobody runs them as commands.
        folder = member.name.rpartition("/")[0]
        if data[:2] != b"#!" or not member.mode & 0o111 or folder not in folders:
            continue
        commands.append(member.name)
        program, *arguments = data[2:].split(b"\n", 1)[0].decode().split()
        works = resolve(tree, program) is not None
        if works and program == "/usr/bin/env" and arguments:
            works = any(resolve(tree, f"{folder}/{arguments[-1]}") for folder in path)
        if not works:
            dead[member.name] = program
    if resolve(tree, "/bin/sh") is None:
        # Without a shell, by intent, some of Debian's own scripts have nothing to run them.
        dead = {name: program for name, program in dead.items() if program not in NEED_A_SHELL}
    assert not dead
    if any(part.project for part in SETTINGS.chain(target)):
        assert f"usr/local/bin/{SETTINGS.name}" in commands


@every_image
def test_tars_are_in_order_and_own_up_to_nobody_unknown(
    image_of: ImageOf, target: str, platform: Platform
) -> None:
    image = image_of(target, platform)
    user = SETTINGS.merged(target).user
    owners = {(0, 0), *([(user.uid, user.gid)] if user else [])}
    # Debian's packages have files of a few system groups (mail, shadow, tty …).
    groups = range(100)
    times = set()
    for layer in image.layers:
        with tarfile.open(layer) as tar:
            members = tar.getmembers()
        twice = [name for name, count in Counter(m.name for m in members).items() if count > 1]
        assert not twice
        seen = {""}
        for member in members:
            parent = member.name.rpartition("/")[0]
            assert parent in seen, f"{member.name} comes before its folder"
            if member.isdir():
                seen.add(member.name)
            assert not member.name.startswith(("/", "./", "../"))
            assert member.uname == member.gname == ""
            assert (member.uid, member.gid) in owners or (
                member.uid == 0 and member.gid in groups
            ), member.name
            assert member.isreg() or member.isdir() or member.issym() or member.islnk()
            if not member.issym() and not (member.isdir() and member.mode & stat.S_ISVTX):
                assert not member.mode & stat.S_IWOTH, f"{member.name} can be written by anyone"
            times.add(member.mtime)
    assert len(times) == 1
    tree = image.tree()
    modes = {path: tree[path].mode for path in EXPECTED_MODES}
    assert modes == EXPECTED_MODES


@every_image
def test_user_owns_what_it_writes_and_nothing_else(
    image_of: ImageOf, target: str, platform: Platform
) -> None:
    merged = SETTINGS.merged(target)
    tree = image_of(target, platform).tree()
    uid = merged.user.uid if merged.user else 0
    owned = {name for name, member in tree.items() if member.uid == uid} if uid else set()
    expected = {path.lstrip("/") for path in (merged.user.home, *merged.volumes)} if uid else set()
    assert owned == expected
    accounts = {m.name: data for m, data in image_of(target, platform).files()
                if m.name in ("etc/passwd", "etc/group")}  # fmt: skip
    assert f":{uid}:".encode() in accounts["etc/passwd"]


@every_image
def test_every_elf_file_is_for_the_platform(
    image_of: ImageOf, target: str, platform: Platform
) -> None:
    machines: Counter[int] = Counter()
    strange = []
    for member, data in image_of(target, platform).files():
        if data[:4] == b"\x7fELF":
            (machine,) = struct.unpack_from("<H", data, 18)
            machines[machine] += 1
            if machine != platform.elf_machine:
                strange.append(f"{member.name}: {machine}")
    assert machines[platform.elf_machine] > 50
    assert not strange


@every_image
def test_symbolic_links_lead_somewhere(image_of: ImageOf, target: str, platform: Platform) -> None:
    tree = image_of(target, platform).tree()
    dangling = []
    for name, member in tree.items():
        if member.issym():
            folder = "/" + name.rpartition("/")[0]
            to = member.linkname if member.linkname[0] == "/" else f"{folder}/{member.linkname}"
            if resolve(tree, to) is None and not to.startswith(("/proc/", "/dev/", "/run/")):
                dangling.append(f"{name} -> {member.linkname}")
    assert not dangling


# Run by the python of the image: which modules compile, and have no bytecode that it takes.
BYTECODE_CHECK = """
import importlib.util, json, pathlib, sys, warnings
warnings.simplefilter("ignore")
minor = "%d.%d" % sys.version_info[:2]
folders = ["/usr/lib/python3", "/usr/lib/python" + minor,
           "/usr/local/lib/python" + minor + "/dist-packages"]
wrong, modules = [], 0
for folder in folders:
    for path in sorted(pathlib.Path(folder).rglob("*.py")):
        if path.resolve().is_relative_to("/etc"):
            continue  # Configuration, which whoever runs the image may replace.
        source = path.read_bytes()
        try:
            compile(source, str(path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue
        modules += 1
        cached = pathlib.Path(importlib.util.cache_from_source(str(path)))
        data = cached.read_bytes() if cached.exists() else b""
        # PEP 552: magic, flags 1 (hash, not checked when it is loaded), hash of the source.
        expected = (importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
                    + importlib.util.source_hash(source))
        if data[:16] != expected:
            wrong.append(str(path))
print(json.dumps([modules, wrong]))
"""


@every_python_image
def test_every_module_has_bytecode_that_its_own_python_takes(
    fresh: Path, loaded_image: LoadedImage, run_image: RunImage, target: str, platform: Platform
) -> None:
    python = ["/usr/bin/python3", "-I", "-c", BYTECODE_CHECK]
    with run_image(
        loaded_image(target, platform), platform, user="1000", entrypoint=python, command=[]
    ) as container:
        assert container.wait(timeout=300)["StatusCode"] == 0, container.logs().decode()
        modules, wrong = json.loads(container.logs(stderr=False))
    assert modules > 500
    assert not wrong


@every_python_image
def test_python_loads_bytecode_and_compiles_nothing(
    loaded_image: LoadedImage, run_image: RunImage, target: str, platform: Platform
) -> None:
    imports = "import json.decoder, email.message, http.server, concurrent.futures"
    if any(image.project for image in SETTINGS.chain(target)):
        imports += f", bottle, {SETTINGS.name}.cli"
    # As root with a writable file system, where Python would write what it had to compile.
    with run_image(
        loaded_image(target, platform),
        platform,
        user="0",
        entrypoint=["/usr/bin/python3", "-v", "-c", imports],
        command=[],
    ) as container:
        assert container.wait(timeout=120)["StatusCode"] == 0
        log = container.logs().decode().splitlines()
        changed = [change["Path"] for change in container.diff() or ()]
    loaded = [line for line in log if line.startswith("# code object from ")]
    assert len(loaded) > 50
    # From bytecode: `'….pyc'`; from source: a bare path that ends in .py.  Debian keeps
    # sitecustomize in /etc, where whoever runs the image may replace it.
    compiled = [line for line in loaded if ".pyc" not in line]
    assert not [line for line in compiled if not line.endswith("/sitecustomize.py")]
    wrote = [line for line in log if line.startswith("# wrote ")]
    assert not [line for line in wrote if "/sitecustomize." not in line]
    written = [path for path in changed if path.endswith(".pyc")]
    assert not [path for path in written if "/sitecustomize." not in path]


# The cache that the image has, and the one that its own ldconfig makes of its libraries,
# without the first line (a count) and the last (who wrote it).
LDCONFIG_CHECK = """
import json, subprocess
subprocess.run(["/sbin/ldconfig", "-X", "-C", "/tmp/made"], check=True)
read = [sorted(subprocess.run(["/sbin/ldconfig", "-p", "-C", path], check=True, text=True,
                              capture_output=True).stdout.splitlines()[1:-1])
        for path in ("/etc/ld.so.cache", "/tmp/made")]
print(json.dumps(read))
"""


@every_python_image
def test_linker_cache_is_what_ldconfig_makes(
    loaded_image: LoadedImage, run_image: RunImage, target: str, platform: Platform
) -> None:
    with run_image(
        loaded_image(target, platform),
        platform,
        user="0",
        entrypoint=["/usr/bin/python3", "-c", LDCONFIG_CHECK],
        command=[],
    ) as container:
        assert container.wait(timeout=120)["StatusCode"] == 0, container.logs().decode()
        ours, made = json.loads(container.logs(stderr=False))
    assert len(ours) > 20
    assert ours == made


def test_bytecode_names_no_folder_of_the_build(image_of: ImageOf) -> None:
    image = image_of("production", PLATFORMS[0])
    compiled = {m.name: data for m, data in image.files() if m.name.endswith(".pyc")}
    assert compiled
    for name, data in compiled.items():
        folder, _, file = name.partition("/__pycache__/")
        source = f"/{folder}/{file.split('.')[0]}.py"
        assert os.fsencode(source) in data, name
