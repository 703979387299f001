"""A miniature description built for two platforms, looked at as whoever runs it would."""

from __future__ import annotations

import csv
import functools
import hashlib
import json
import marshal
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import pipeline.build
from pipeline.build import BuildReport, BuiltLayer, with_output
from pipeline.errors import (
    DownloadCorrupt,
    ImageInvalid,
    MaintainerScriptUnaudited,
    NetworkUnavailable,
    OutputUnwritable,
    PipelineError,
)
from pipeline.lock import Lock
from pipeline.oci.image import Format
from pipeline.platforms import Platform
from pipeline.revision import Revision
from pipeline.sources.requirements import download_wheels
from tests.unit.pipeline.factories import (
    BOTH,
    EPOCH_S,
    PYTHON,
    ReadImage,
    Recorder,
    World,
    application,
    deb,
    hard_link,
    libc,
    read_image,
    record_hash,
    regular,
    snapshot_of,
    wheel,
    write_repository,
)
from tests.unit.pipeline.sources.elf_factory import AARCH64, elf_file

REPOSITORY = Path(__file__).parents[3]
SITE = f"usr/local/lib/python{PYTHON}/dist-packages"
TAG = f"cpython-{PYTHON.replace('.', '')}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world whose cache has everything."""
    world = World(tmp_path)
    world.fill_cache()
    return world


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world after its first build; tests only read it."""
    world = World(tmp_path_factory.mktemp("built"))
    world.fill_cache()
    world.build(archive=world.output / "images.tar")
    return world


@pytest.fixture(scope="module", params=BOTH, ids=lambda platform: platform.architecture)
def image(built: World, request: pytest.FixtureRequest) -> ReadImage:
    return read_image(built.output / "production", request.param)


def layers_of(report: BuildReport) -> list[BuiltLayer]:
    return [layer for image in report.images for part in image.platforms for layer in part.layers]


def rebuilt(report: BuildReport) -> set[str]:
    return {layer.kind for layer in layers_of(report) if not layer.reused}


# What is in the image


def test_there_is_a_layer_for_what_changes_seldom_and_one_for_what_changes_often(
    image: ReadImage,
) -> None:
    assert [entry["created_by"].partition(":")[0] for entry in image.config["history"]] == [
        "base",
        "dependencies",
        "application",
    ]
    base, dependencies, top = image.layers
    assert f"usr/bin/python{PYTHON}" in base
    assert f"{SITE}/dep/__init__.py" in dependencies
    assert f"{SITE}/mini/__init__.py" in top


def test_the_container_starts_as_described(image: ReadImage) -> None:
    assert image.config["config"] == {
        "User": "1000:1000",
        "Env": ["PATH=/usr/local/bin:/usr/bin"],
        "Entrypoint": ["/usr/local/bin/mini"],
        "Cmd": ["serve"],
        "WorkingDir": "/app",
        "ExposedPorts": {"8000/tcp": {}},
        "Volumes": {"/app/data": {}},
        "StopSignal": "SIGTERM",
        "Labels": {
            "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
            "org.opencontainers.image.description": "What is deployed",
            "org.opencontainers.image.title": "Mini",
            "org.opencontainers.image.version": "1.0",
        },
        "Healthcheck": {
            "Test": ["CMD", "/usr/bin/python3", f"/usr/lib/python{PYTHON}/os.py"],
            "Interval": 2_500_000_000,
            "Timeout": 5_000_000_000,
            "StartPeriod": 5_000_000_000,
            "Retries": 3,
        },
    }


def test_each_platform_says_what_it_is(built: World) -> None:
    (top,) = json.loads((built.output / "production/index.json").read_bytes())["manifests"]
    assert top["annotations"]["org.opencontainers.image.ref.name"] == "production"
    images = [read_image(built.output / "production", platform) for platform in BOTH]
    assert [
        (image.config["architecture"], image.config.get("variant"), image.config["os"])
        for image in images
    ] == [("amd64", None, "linux"), ("arm64", "v8", "linux")]


def test_each_platform_gets_its_own_programs(built: World) -> None:
    for platform in BOTH:
        files = read_image(built.output / "production", platform).files
        program = files[f"usr/bin/python{PYTHON}"].data
        assert int.from_bytes(program[18:20], "little") == platform.elf_machine
        assert platform.dynamic_linker.encode() in program
        assert f"usr/lib/{platform.gnu_triplet}/libc.so.6" in files


def test_the_root_file_system_has_a_merged_usr(built: World) -> None:
    for platform, has_lib64 in ((Platform.AMD64, True), (Platform.ARM64, False)):
        base = read_image(built.output / "production", platform).layers[0]
        for name in ("bin", "sbin", "lib"):
            assert (base[name].info.issym(), base[name].info.linkname) == (True, f"usr/{name}")
            assert base[f"usr/{name}"].info.isdir()
        assert ("lib64" in base) is has_lib64
        linker = base[f"usr{platform.dynamic_linker}"].info.linkname.removeprefix("/lib/")
        assert f"usr/lib/{linker}" in base


def test_standing_folders_have_their_modes(image: ReadImage) -> None:
    base = image.layers[0]
    assert {name: base[name].mode for name in ("tmp", "var/tmp", "root", "etc", "proc")} == {
        "tmp": 0o1777,
        "var/tmp": 0o1777,
        "root": 0o700,
        "etc": 0o755,
        "proc": 0o755,
    }


def test_files_keep_the_modes_and_owners_that_the_package_gives_them(image: ReadImage) -> None:
    base = image.layers[0]
    assert (base["usr/bin/su"].mode, base["usr/bin/su"].owner) == (0o4755, (0, 42))
    assert base[f"usr/bin/python{PYTHON}"].mode == 0o755
    assert base[f"usr/lib/python{PYTHON}/os.py"].mode == 0o644


def test_every_member_has_the_time_of_the_lock(image: ReadImage) -> None:
    assert {found.info.mtime for layer in image.layers for found in layer.values()} == {EPOCH_S}
    assert image.config["created"] == "2023-11-14T22:13:20Z"


def test_python_is_linked_as_described(image: ReadImage) -> None:
    assert image.files["usr/bin/python3"].info.linkname == f"python{PYTHON}"


def test_licences_stay_and_manuals_go(image: ReadImage) -> None:
    assert "usr/share/doc/libc6/copyright" in image.files
    assert "usr/share/doc/libc6/changelog.Debian.gz" not in image.files
    assert "usr/share/man/man1/python.1.gz" not in image.files
    assert f"usr/lib/python{PYTHON}/idlelib/big.py" not in image.files


def test_scanners_find_every_package(image: ReadImage) -> None:
    folder = "var/lib/dpkg/status.d"
    paragraph = image.files[f"{folder}/python{PYTHON}-minimal"].data.decode()
    assert paragraph.startswith(f"Package: python{PYTHON}-minimal\nVersion: 1.0-1\n")
    assert paragraph.endswith(" a package for tests\n")
    found = {path.removeprefix(f"{folder}/") for path in image.files if path.startswith(folder)}
    named = {name for name in found - {folder} if not name.endswith(".md5sums")}
    assert named == {"base-passwd", "ca-certificates", "libc6", f"python{PYTHON}-minimal"}
    assert "var/lib/dpkg/status" not in image.files


def test_md5sums_hold_for_what_is_there_and_name_nothing_else(image: ReadImage) -> None:
    sums = image.files[f"var/lib/dpkg/status.d/python{PYTHON}-minimal.md5sums"].data.decode()
    listed = dict(reversed(line.split("  ")) for line in sums.splitlines())
    assert set(listed) == {
        f"usr/bin/python{PYTHON}",
        "usr/bin/su",
        f"usr/lib/python{PYTHON}/os.py",
        f"usr/lib/python{PYTHON}/template.py",
    }
    for path, md5 in listed.items():
        assert hashlib.md5(image.files[path].data, usedforsecurity=False).hexdigest() == md5


def test_the_linker_cache_names_the_libraries(image: ReadImage) -> None:
    cache = image.files["etc/ld.so.cache"].data
    assert cache.startswith(b"glibc-ld.so.cache1.1")
    assert b"libc.so.6\0" in cache


def test_tls_clients_find_the_certificates(image: ReadImage) -> None:
    bundle = image.files["etc/ssl/certs/ca-certificates.crt"].data
    assert bundle == b"first\nsecond\n"
    cert_pem = image.files["usr/lib/ssl/cert.pem"].info.linkname
    assert cert_pem == "/etc/ssl/certs/ca-certificates.crt"


def test_the_user_exists_beside_debian_s_own(image: ReadImage) -> None:
    assert image.files["etc/passwd"].data.decode().splitlines() == [
        "root:*:0:0:root:/root:/bin/bash",
        "app:x:1000:1000::/app:/usr/sbin/nologin",
    ]
    assert image.files["etc/group"].data.decode().splitlines() == ["root:*:0:", "app:x:1000:"]
    assert image.layers[0]["etc/passwd"].data == b"root:*:0:0:root:/root:/bin/bash\n"


def test_the_user_can_write_where_the_description_says(image: ReadImage) -> None:
    owned = {path for path, found in image.files.items() if found.owner == (1000, 1000)}
    assert owned == {
        "app",
        "app/data",
        "app/conf",
        "app/conf/more",
        "app/conf/more/deep.ini",
        "app/conf/run.sh",
        "app/conf/settings.ini",
    }


def test_files_of_the_repository_keep_their_executable_bit_or_get_the_mode_asked_for(
    image: ReadImage,
) -> None:
    assert image.files["app/conf/run.sh"].mode == 0o755
    assert image.files["app/conf/settings.ini"].mode == 0o644
    assert image.files["usr/local/bin/run"].mode == 0o750
    assert image.files["usr/local/bin/run"].data == b"#!/bin/sh\n"


def test_stale_bytecode_of_the_repository_stays_outside(image: ReadImage) -> None:
    assert not [path for path in image.files if path.startswith("app/") and "__pycache__" in path]


def test_console_scripts_run_the_image_s_python(image: ReadImage) -> None:
    script = image.files["usr/local/bin/mini"]
    assert script.data.startswith(b"#!/usr/bin/python3\n")
    assert b"from mini.cli import main" in script.data
    assert script.mode == 0o755


@pytest.mark.parametrize("distribution", ["mini", "dep"])
def test_record_is_correct(image: ReadImage, distribution: str) -> None:
    record = f"{SITE}/{distribution}-1.0.dist-info/RECORD"
    rows = list(csv.reader(image.files[record].data.decode().splitlines()))
    listed = {os.path.normpath(f"{SITE}/{path}"): (hash_, size) for path, hash_, size in rows}
    assert listed.pop(record) == ("", "")
    for path, (hash_, size) in listed.items():
        data = image.files[path].data
        assert (hash_, size) == (f"sha256={record_hash(data)}", str(len(data)))
    installed = {
        path
        for path, found in image.files.items()
        if path.startswith((f"{SITE}/{distribution}/", f"{SITE}/{distribution}-"))
        and found.info.isreg()
        and "__pycache__" not in path
    }
    assert installed <= {*listed, record}
    assert [path for path, _, _ in rows] == sorted(path for path, _, _ in rows)


def test_only_the_project_was_asked_for_by_name(image: ReadImage) -> None:
    assert f"{SITE}/mini-1.0.dist-info/REQUESTED" in image.files
    assert f"{SITE}/dep-1.0.dist-info/REQUESTED" not in image.files


@pytest.mark.parametrize(
    "source", [f"usr/lib/python{PYTHON}/os.py", f"{SITE}/dep/__init__.py", f"{SITE}/mini/cli.py"]
)
def test_python_needs_to_compile_nothing(image: ReadImage, source: str) -> None:
    parent, _, name = source.rpartition("/")
    cached = image.files[f"{parent}/__pycache__/{name.removesuffix('.py')}.{TAG}.pyc"]
    # PEP 552: bit 0 for a hash instead of a time, bit 1 (check it) not set.
    assert int.from_bytes(cached.data[4:8], "little") == 0b01
    code = marshal.loads(cached.data[16:])
    assert code.co_filename == f"/{source}"
    namespace: dict[str, object] = {"__file__": f"/{source}"}
    exec(code, namespace)
    assert cached.mode == 0o644


def test_what_is_no_python_gets_no_bytecode(image: ReadImage) -> None:
    assert f"usr/lib/python{PYTHON}/template.py" in image.files
    assert not [path for path in image.files if "/template." in path and path.endswith(".pyc")]


def test_layers_without_machine_code_are_shared_between_platforms(built: World) -> None:
    manifests = [read_image(built.output / "production", p).manifest["layers"] for p in BOTH]
    digests = [[layer["digest"] for layer in layers] for layers in manifests]
    assert digests[0][0] != digests[1][0]
    assert digests[0][1] == digests[1][1]


def test_the_archive_serves_old_engines(built: World) -> None:
    with tarfile.open(built.output / "images.tar") as archive:
        members = set(archive.getnames())
        listing = archive.extractfile("manifest.json")
        assert listing is not None
        entries = json.load(listing)
    assert [entry["RepoTags"] for entry in entries] == [
        ["mini:production", "mini:production-amd64"],
        ["mini:production-arm64"],
    ]
    assert {path for entry in entries for path in (entry["Config"], *entry["Layers"])} <= members


# The report


def test_the_report_says_what_was_built(world: World) -> None:
    report = world.build()
    document = json.loads(json.dumps(report.to_json()))
    (image,) = document["images"]
    (top,) = json.loads((world.output / "production/index.json").read_bytes())["manifests"]
    assert (image["target"], image["name"]) == ("production", "mini:production")
    assert image["digest"] == top["digest"]
    assert image["output"] == str(world.output / "production")
    assert [part["platform"] for part in image["platforms"]] == ["linux/amd64", "linux/arm64"]
    assert [part["glibc"] for part in image["platforms"]] == ["2.34", "2.34"]
    layer = image["platforms"][0]["layers"][0]
    assert (layer["kind"], layer["summary"]) == ("base", "4 Debian packages")
    assert not layer["reused"]
    part = report.images[0].platforms[0]
    assert part.size_bytes == sum(layer.size_bytes for layer in part.layers)
    assert part.unpacked_bytes == sum(layer.unpacked_bytes for layer in part.layers)


def test_paths_in_the_report_are_shown_as_they_were_given(world: World) -> None:
    report = world.build(archive=world.output / "images.tar")
    shown = with_output(report, world.output.parent)
    assert shown.images[0].output == Path("images/production")
    assert shown.archive == Path("images/images.tar")
    assert with_output(report, world.root).archive == world.output / "images.tar"


def test_the_docker_format_has_no_oci_types(world: World) -> None:
    world.build(format=Format.DOCKER)
    manifest = read_image(world.output / "production", Platform.ARM64).manifest
    assert all("docker" in layer["mediaType"] for layer in (manifest, *manifest["layers"]))


def test_one_platform_makes_a_plain_image(world: World) -> None:
    report = world.build(platforms=(Platform.ARM64,))
    (top,) = json.loads((world.output / "production/index.json").read_bytes())["manifests"]
    assert top["digest"] == report.images[0].digest
    assert top["platform"] == {"os": "linux", "architecture": "arm64", "variant": "v8"}


def test_several_targets_share_their_layers(world: World) -> None:
    report = world.build(targets=("base", "production"))
    base, production = (image.platforms[0].layers for image in report.images)
    assert base[0].digest == production[0].digest
    assert "etc/passwd" in read_image(world.output / "base", Platform.AMD64).files


def test_a_second_packages_layer_extends_the_linker_cache(world: World) -> None:
    world.description = world.description.replace(
        "[images.production]\n", '[images.production]\npackages = ["libextra"]\n'
    )
    library = elf_file(soname="libextra.so.1", needed=("libc.so.6",))
    extra = deb("libextra", [regular("usr/lib/x86_64-linux-gnu/libextra.so.1.2", library)])
    world.cache.store(extra.data)
    complete = world.lock()

    def lock() -> Lock:
        suite = complete.suites["tiny"]
        images = dict(suite.images[Platform.AMD64])
        images["production"] = replace(images["production"], packages=(extra.locked,))
        suite = replace(suite, images={Platform.AMD64: images})
        return replace(complete, suites={"tiny": suite})

    world.lock = lock  # type: ignore[assignment,method-assign]
    world.build(platforms=(Platform.AMD64,))
    image = read_image(world.output / "production", Platform.AMD64)
    packages = image.layers[1]
    assert packages["usr/lib/x86_64-linux-gnu/libextra.so.1"].info.linkname == "libextra.so.1.2"
    assert b"libextra.so.1\0" in packages["etc/ld.so.cache"].data
    assert b"libc.so.6\0" in packages["etc/ld.so.cache"].data
    assert "bin" not in packages


def test_without_bytecode_there_is_none(world: World) -> None:
    world.description = world.description.replace(
        "[images.base]", "[images.base]\nbytecode = false"
    ).replace("[images.production]\n", "[images.production]\nbytecode = false\n")
    world.build()
    files = read_image(world.output / "production", Platform.AMD64).files
    assert not [path for path in files if path.endswith(".pyc")]


# The same bytes everywhere

BUILD_ELSEWHERE = """
import sys
from pathlib import Path
from tests.unit.pipeline.factories import World
world = World(Path(sys.argv[1]), root=Path(sys.argv[2]))
world.fill_cache()
print(world.build().images[0].digest)
"""


def elsewhere(tmp_path: Path, *, umask: int, cwd: Path, **environment: str) -> str:
    """Build in a process of its own, from a copy of the source made the other way round."""
    source = tmp_path / "another" / "clone"
    original = tmp_path / "original"
    write_repository(original)
    for path in sorted(original.rglob("*"), reverse=True):
        if path.is_file():
            copy = source / path.relative_to(original)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o777 if os.access(path, os.X_OK) else 0o600)
            os.utime(copy, (1_000_000_000, 1_000_000_000))
    done = subprocess.run(
        [sys.executable, "-c", BUILD_ELSEWHERE, str(tmp_path / "work"), str(source)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("umask", "zone", "seed"), [(0o077, "Asia/Kathmandu", "1"), (0o000, "UTC", "4242")]
)
def test_the_digest_depends_on_nothing_but_the_input(
    built: World, tmp_path: Path, umask: int, zone: str, seed: str
) -> None:
    (top,) = json.loads((built.output / "production/index.json").read_bytes())["manifests"]
    digest = elsewhere(
        tmp_path, umask=umask, cwd=tmp_path, TZ=zone, PYTHONHASHSEED=seed, LC_ALL="C", HOME="/"
    )
    assert digest == top["digest"]


def test_the_output_can_be_read_by_others_whatever_the_umask(tmp_path: Path) -> None:
    elsewhere(tmp_path, umask=0o077, cwd=tmp_path)
    layout = tmp_path / "work" / "images" / "production"
    assert layout.stat().st_mode & 0o777 == 0o755
    files = [path for path in layout.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o644}


# Reuse


def test_a_second_build_reuses_everything(world: World) -> None:
    first = world.build()
    again = world.build()
    assert all(layer.reused for layer in layers_of(again))
    assert not any(layer.reused for layer in layers_of(first))
    assert again.images[0].digest == first.images[0].digest
    assert again.damaged == ()


def test_a_second_build_needs_no_packages(world: World) -> None:
    first = world.build()
    for package in world.debs[Platform.AMD64]:
        world.cache.blob_path(package.locked.sha256).unlink()
    assert world.build(mirrors={}).images[0].digest == first.images[0].digest


def test_a_change_of_the_application_rebuilds_its_layer_alone(world: World) -> None:
    first = world.build()
    world.project = application(greeting="bonjour")
    report = world.build()
    assert rebuilt(report) == {"application"}
    assert report.images[0].digest != first.images[0].digest
    files = read_image(world.output / "production", Platform.ARM64).files
    assert files[f"{SITE}/mini/__init__.py"].data == b'GREETING = "bonjour"\n'


def edit(path: Path) -> None:
    path.write_text("[app]\ncolour = blue\n")


def make_executable(path: Path) -> None:
    path.chmod(0o755)


def add_another(path: Path) -> None:
    path.with_name("other.ini").touch()


@pytest.mark.parametrize("change", [edit, make_executable, add_another, Path.unlink])
def test_a_change_of_the_repository_s_files_is_noticed(
    world: World, change: Callable[[Path], None]
) -> None:
    first = world.build()
    change(world.root / "conf/settings.ini")
    report = world.build()
    assert rebuilt(report) == {"application"}
    assert report.images[0].digest != first.images[0].digest


def test_a_touched_file_is_no_change(world: World) -> None:
    world.build()
    os.utime(world.root / "conf/settings.ini", (1, 1))
    assert rebuilt(world.build()) == set()


def test_a_new_dependency_leaves_the_base_alone(world: World) -> None:
    world.build()
    world.wheels = [wheel("dep", {"dep/__init__.py": "VERSION = 2\n"}, version="2.0")]
    world.fill_cache()
    # The application's layer extends the accounts of those below it.
    assert rebuilt(world.build()) == {"dependencies", "application"}


def test_a_new_commit_changes_labels_and_no_layer(world: World) -> None:
    first = world.build()
    report = world.build(revision=Revision("c0ffee", 1_750_000_000, dirty=True))
    assert rebuilt(report) == set()
    assert report.images[0].digest != first.images[0].digest
    config = read_image(world.output / "production", Platform.AMD64).config
    labels = config["config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == "c0ffee-dirty"
    assert config["created"] == labels["org.opencontainers.image.created"] == "2025-06-15T15:06:40Z"


def test_blobs_that_nothing_names_leave_the_output(world: World) -> None:
    world.build()
    world.project = application(greeting="bonjour")
    world.build()
    blobs = {path.name for path in (world.output / "production/blobs/sha256").iterdir()}
    named = set()
    for platform in BOTH:
        manifest = read_image(world.output / "production", platform).manifest
        named |= {part["digest"][7:] for part in (manifest["config"], *manifest["layers"])}
    assert len(blobs - named) == 3  # Two manifests and their index.
    assert named <= blobs


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("harm", [damage, truncate, Path.unlink])
@pytest.mark.parametrize("kind", ["base", "application"])
def test_a_damaged_layer_is_made_again(
    world: World, kind: str, harm: Callable[[Path], None]
) -> None:
    first = world.build()
    layer = next(layer for layer in layers_of(first) if layer.kind == kind)
    harm(world.cache.blob_path(layer.digest.removeprefix("sha256:")))
    report = world.build()
    again = next(layer for layer in layers_of(report) if layer.kind == kind)
    assert not again.reused
    assert report.images[0].digest == first.images[0].digest
    blob = f"blob {layer.digest[7:19]}"
    expected = [] if harm is Path.unlink else [blob]
    assert report.to_json()["cache_repaired"] == expected


def test_damaged_facts_of_a_layer_are_made_again(world: World) -> None:
    first = world.build()
    damage(world.cache.blob_path(layers_of(first)[0].facts))
    report = world.build()
    assert len(report.damaged) == 1
    assert report.images[0].digest == first.images[0].digest


def test_a_damaged_blob_of_the_output_is_written_again(world: World) -> None:
    report = world.build()
    digest = layers_of(report)[0].digest.removeprefix("sha256:")
    damage(world.output / "production/blobs/sha256" / digest)
    world.build()
    read_image(world.output / "production", Platform.AMD64)


# Downloads


def test_an_empty_cache_is_filled_from_a_mirror(tmp_path: Path, built: World) -> None:
    world = World(tmp_path)
    world.publish()
    for item in world.wheels:
        world.cache.store(item.data)
    digest = world.build(mirrors={"debian": (world.mirror.as_uri(),)}).images[0].digest
    (top,) = json.loads((built.output / "production/index.json").read_bytes())["manifests"]
    assert digest == top["digest"]


def test_a_damaged_package_in_the_cache_is_fetched_again(world: World) -> None:
    world.publish()
    package = world.debs[Platform.AMD64][0].locked
    damage(world.cache.blob_path(package.sha256))
    report = world.build()
    assert report.damaged == (f"blob {package.sha256[:12]}",)
    assert world.cache.verified(package.sha256)


@pytest.mark.parametrize("harm", [damage, truncate])
def test_a_mirror_that_serves_other_bytes_is_not_believed(
    world: World, harm: Callable[[Path], None]
) -> None:
    world.publish()
    package = world.debs[Platform.AMD64][1].locked
    world.cache.blob_path(package.sha256).unlink()
    harm(world.mirror / package.path)
    with pytest.raises(DownloadCorrupt, match="ca-certificates"):
        world.build()
    assert not world.cache.blob_path(package.sha256).exists()


@pytest.mark.parametrize("mirrors", [{}, {"debian": ("/nowhere",)}], ids=["none", "empty"])
def test_a_package_that_nobody_has_is_named(
    world: World, mirrors: dict[str, tuple[str, ...]]
) -> None:
    package = world.debs[Platform.ARM64][2].locked
    world.cache.blob_path(package.sha256).unlink()
    with pytest.raises(NetworkUnavailable, match=r"libc6 1\.0-1 \(arm64\)") as caught:
        world.build(mirrors=mirrors)
    assert "ACCELERAPP_DEBIAN_MIRROR" in caught.value.hint


def test_a_wheel_that_nobody_has_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.cache.blob_path(world.wheels[0].locked.sha256).unlink()
    refused = Recorder([(1, "", "ERROR: No matching distribution (from versions: none)")])
    offline = functools.partial(download_wheels, runner=refused)
    monkeypatch.setattr(pipeline.build, "download_wheels", offline)
    with pytest.raises(NetworkUnavailable, match=r"dep 1\.0"):
        world.build()
    assert len(refused.argvs) == 1


def test_one_platform_needs_the_packages_of_that_platform_alone(world: World) -> None:
    world.cache.blob_path(world.debs[Platform.ARM64][2].locked.sha256).unlink()
    world.build(platforms=(Platform.AMD64,), mirrors={})


# Images that could not run


def with_package(world: World, name: str, path: str, content: bytes, **options: object) -> None:
    for platform in BOTH:
        package = deb(name, [regular(path, content)], architecture=platform.debian, **options)  # type: ignore[arg-type]
        world.debs[platform].append(package)
    world.fill_cache()


def other_machine(world: World) -> None:
    with_package(world, "wrong", "usr/lib/libwrong.so", elf_file(machine=AARCH64, needed=()))


def missing_library(world: World) -> None:
    with_package(world, "lonely", "usr/lib/liblonely.so", elf_file(needed=("libfriend.so.2",)))


def too_new(world: World) -> None:
    for platform in BOTH:
        world.debs[platform][2] = libc(platform, versions=("GLIBC_2.34", "GLIBC_2.39"))
    eager = elf_file(needed=("libc.so.6",), requires={"libc.so.6": ["GLIBC_2.39"]})
    world.wheels.append(
        wheel("eager", {"eager/native.so": eager}, tag="cp311-cp311-manylinux_2_39_x86_64")
    )
    world.fill_cache()


def unaudited(world: World) -> None:
    with_package(world, "mysterious", "usr/share/mysterious", b"?", postinst=True)


def disagreeing(world: World) -> None:
    with_package(world, "first", "usr/share/both", b"one")
    with_package(world, "second", "usr/share/both", b"other")


def disagreeing_wheels(world: World) -> None:
    world.wheels += [wheel("left", {"same.py": "1\n"}), wheel("right", {"same.py": "2\n"})]
    world.fill_cache()


def dangling_hard_link(world: World) -> None:
    members = [regular("usr/lib/python9/a", b"x"), hard_link("usr/lib/b", "usr/lib/python9/a")]
    world.description = world.description.replace(
        "exclude = [", 'exclude = ["usr/lib/python9/**", '
    )
    for platform in BOTH:
        world.debs[platform].append(deb("halved", members, architecture=platform.debian))
    world.fill_cache()


PROBLEMS = [
    (other_machine, ImageInvalid, ["libwrong.so (wrong)", "aarch64", "linux/amd64"]),
    (missing_library, ImageInvalid, ["liblonely.so (lonely)", "libfriend.so.2"]),
    (too_new, ImageInvalid, ["native.so (eager-1.0-", "GLIBC_2.39", "GLIBC_2.36"]),
    (unaudited, MaintainerScriptUnaudited, ["'mysterious'", "postinst"]),
    (disagreeing, ImageInvalid, ["usr/share/both", "first", "second", "base layer"]),
    (disagreeing_wheels, ImageInvalid, ["same.py", "left-1.0-", "right-1.0-", "dependencies"]),
    (dangling_hard_link, ImageInvalid, ["usr/lib/b", "usr/lib/python9/a"]),
]


@pytest.mark.parametrize(
    ("problem", "expected", "words"), PROBLEMS, ids=[case[0].__name__ for case in PROBLEMS]
)
def test_what_could_not_run_is_refused_and_the_old_output_stays(
    world: World,
    problem: Callable[[World], None],
    expected: type[PipelineError],
    words: list[str],
) -> None:
    archive = world.output / "images.tar"
    world.build(platforms=(Platform.AMD64,), archive=archive)
    before = snapshot_of(world.output)
    problem(world)
    with pytest.raises(expected) as caught:
        world.build(platforms=(Platform.AMD64,), archive=archive)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert snapshot_of(world.output) == before
    assert not list(world.cache.temporary_folder().iterdir())


def test_an_image_that_was_refused_is_refused_again(world: World) -> None:
    missing_library(world)
    for _ in range(2):
        with pytest.raises(ImageInvalid):
            world.build(platforms=(Platform.AMD64,))


def test_a_lower_limit_of_glibc_is_checked_for_layers_that_are_cached(world: World) -> None:
    world.build()
    world.description = world.description.replace('glibc = "2.36"', 'glibc = "2.31"')
    with pytest.raises(ImageInvalid, match=r"GLIBC_2\.34.*GLIBC_2\.31"):
        world.build()


def test_many_problems_are_counted(world: World) -> None:
    for number in range(5):
        library = elf_file(needed=("libfriend.so.2",))
        with_package(world, f"lonely{number}", f"usr/lib/liblonely{number}.so", library)
    with pytest.raises(ImageInvalid, match="and 2 more"):
        world.build(platforms=(Platform.AMD64,))


def test_layers_that_were_finished_are_kept_for_the_next_try(world: World) -> None:
    missing_library(world)
    with pytest.raises(ImageInvalid):
        world.build(platforms=(Platform.AMD64,))
    for platform in BOTH:
        world.debs[platform].pop()
    report = world.build(platforms=(Platform.AMD64,))
    assert {layer.kind for layer in layers_of(report) if layer.reused} == {"dependencies"}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("something asked for the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
def test_with_everything_cached_no_network_is_asked(world: World) -> None:
    world.build(mirrors={"debian": ("https://mirror.example/debian",)})


def test_an_archive_that_cannot_be_written_leaves_the_layout_as_it_was(
    world: World, tmp_path: Path
) -> None:
    before = world.build(platforms=(Platform.AMD64,)).images[0].digest
    with pytest.raises(OutputUnwritable):
        world.build(platforms=(Platform.ARM64,), archive=tmp_path)
    index = json.loads((world.output / "production" / "index.json").read_bytes())
    assert [manifest["digest"] for manifest in index["manifests"]] == [before]
