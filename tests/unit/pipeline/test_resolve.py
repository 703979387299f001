"""The lock, made from a small signed archive on disk."""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, cast

import pysequoia
import pytest

import pipeline.resolve
from pipeline.bases import LockedBase
from pipeline.cache import Cache
from pipeline.errors import (
    BaseUnusable,
    NetworkUnavailable,
    PackageNotFound,
    PackageNotOnPlatform,
    PackagesConflict,
    SettingsInvalid,
    SignatureInvalid,
)
from pipeline.lock import Lock, check_current, description_inputs, format_lock, parse_lock
from pipeline.platforms import Platform
from pipeline.report import Silent
from pipeline.resolve import Sources, compile_all_requirements, make_lock, requirements_inputs
from pipeline.settings import Settings, Suite, parse_settings
from pipeline.sources.base import BaseFacts
from pipeline.sources.elf import LinkFacts
from pipeline.sources.project import Project
from pipeline.sources.requirements import LockedWheel
from tests.unit.pipeline.factories import BOTH, write_project

NOW = datetime(2025, 6, 2, tzinfo=UTC)
SHOWN = Path("images.lock")

DESCRIPTION = """
schema = 1
name = "mini"
default-suite = "bookworm"
platforms = ["amd64", "arm64"]

[suites.bookworm]
python = "3.11"
glibc = "2.36"

[images.base]
packages = ["python{python}"]
omit = ["debconf"]

[images.production]
from = "base"
packages = ["curl"]
requirements = "requirements/production.txt"
"""

# Name → dependencies; python3.11 is what the base asks for.
PACKAGES = {
    "python3.11": "python3.11-minimal, tzdata",
    "python3.11-minimal": "libc6",
    "tzdata": "debconf",
    "debconf": "perl",
    "perl": "",
    "libc6": "",
    "curl": "libc6, libcurl4",
    "libcurl4": "libc6",
}


def stanza(name: str, depends: str, architecture: str, version: str = "1.0") -> str:
    digest = hashlib.sha256(f"{name} {version} {architecture}".encode()).hexdigest()
    return (
        f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
        f"Depends: {depends}\nFilename: pool/main/{name}_{version}_{architecture}.deb\n"
        f"Size: {len(name)}\nSHA256: {digest}\n\n"
    ).replace("Depends: \n", "")


class Archive:
    """`debian` and `debian-security` side by side, signed with a key of its own."""

    def __init__(self, where: Path) -> None:
        self.root = where / "mirror"
        self.key = pysequoia.Tsk.generate("Archive <archive@mirror.example>")
        self.keyrings = where / "keyrings"
        self.keyrings.mkdir()
        (self.keyrings / "archive.gpg").write_bytes(bytes(self.key.extract_certificate()))
        self.packages = {
            platform.debian: {
                name: stanza(name, depends, platform.debian) for name, depends in PACKAGES.items()
            }
            for platform in BOTH
        }

    def publish(self, codename: str = "bookworm") -> None:
        main = {arch: "".join(stanzas.values()) for arch, stanzas in self.packages.items()}
        nothing = dict.fromkeys(main, "")
        fixed = {arch: stanza("libcurl4", "libc6", arch, "1.0+deb12u1") for arch in main}
        self.write("debian", codename, main, datetime(2025, 5, 1, tzinfo=UTC))
        self.write("debian", f"{codename}-updates", nothing, datetime(2025, 6, 1, 2, tzinfo=UTC))
        self.write(
            "debian-security", f"{codename}-security", fixed, datetime(2025, 5, 9, tzinfo=UTC)
        )

    def write(self, name: str, suite: str, indexes: Mapping[str, str], date: datetime) -> None:
        folder = self.root / name / "dists" / suite
        lines = ""
        for architecture, text in indexes.items():
            data = lzma.compress(text.encode(), preset=0)
            path = f"main/binary-{architecture}/Packages.xz"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
            lines += f" {hashlib.sha256(data).hexdigest()} {len(data)} {path}\n"
        release = (
            f"Suite: {suite}\nCodename: {suite}\nDate: {format_datetime(date)}\nSHA256:\n{lines}"
        )
        mode = pysequoia.SignatureMode.CLEAR
        signed = pysequoia.sign(self.key.signer(), release.encode(), mode=mode)
        (folder / "InRelease").write_bytes(signed)

    @property
    def sources(self) -> Sources:
        return Sources(
            mirrors=[str(self.root / "debian"), str(self.root / "debian-security")],
            environ={},
            apt_root=self.root / "no-apt",
            keyrings=self.keyrings,
        )


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


class Resolver:
    """Stands in for uv: one pure wheel, one for the platform."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Platform, str]] = []

    def __call__(
        self, requirements: str, suite: Suite, platform: Platform, *, what: str
    ) -> tuple[LockedWheel, ...]:
        self.asked.append((requirements, suite.name, platform, what))
        native = f"fast-1.0-cp311-cp311-linux_{platform.kernel}.whl"
        return (
            LockedWheel("dep", "1.0", "dep-1.0-py3-none-any.whl", "d" * 64, 7),
            LockedWheel("fast", "1.0", native, "f" * 64, 9),
        )


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver()
    monkeypatch.setattr(pipeline.resolve, "resolve_wheels", resolver)
    return resolver


def settings_of(root: Path, text: str = DESCRIPTION) -> Settings:
    requirements = root / "requirements"
    requirements.mkdir(parents=True, exist_ok=True)
    (requirements / "production.txt").write_text("dep==1.0\n")
    (requirements / "production.in").write_text("dep\n")
    return parse_settings(text, root=root, path=Path("images.toml"))


def lock(
    archive: Archive,
    text: str = DESCRIPTION,
    *,
    project: Project | None = None,
    publish: bool = True,
) -> Lock:
    if publish:
        archive.publish()
    where = archive.root.parent
    settings = settings_of(where / "repository", text)
    cache = Cache(where / "cache")
    return make_lock(settings, project, cache, Silent(), now=NOW, sources=archive.sources)


def names(lock: Lock, image: str, platform: Platform = Platform.ARM64) -> list[str]:
    return [package.name for package in lock.contents("bookworm", platform, image).packages]


def test_an_image_holds_what_its_packages_depend_on(archive: Archive) -> None:
    made = lock(archive)
    assert names(made, "base") == ["libc6", "python3.11", "python3.11-minimal", "tzdata"]


def test_an_image_adds_what_its_base_does_not_have(archive: Archive) -> None:
    assert names(lock(archive), "production") == ["curl", "libcurl4"]


def test_a_package_is_locked_by_its_digest(archive: Archive) -> None:
    made = lock(archive)
    curl, libcurl = made.contents("bookworm", Platform.ARM64, "production").packages
    assert (curl.version, curl.architecture, curl.archive) == ("1.0", "arm64", "debian")
    assert curl.path == "pool/main/curl_1.0_arm64.deb"
    assert curl.sha256 == hashlib.sha256(b"curl 1.0 arm64").hexdigest()
    assert curl.size_bytes == 4
    assert (libcurl.version, libcurl.archive) == ("1.0+deb12u1", "debian-security")


def test_the_lock_is_as_old_as_its_newest_archive(archive: Archive) -> None:
    suite = lock(archive).suite("bookworm")
    assert suite.epoch_s == int(datetime(2025, 6, 1, 2, tzinfo=UTC).timestamp())
    assert suite.snapshot == "20250601T020000Z"
    inrelease = archive.root / "debian/dists/bookworm/InRelease"
    assert suite.archives["debian bookworm"] == hashlib.sha256(inrelease.read_bytes()).hexdigest()
    assert list(suite.archives) == [
        "debian bookworm", "debian bookworm-updates", "debian-security bookworm-security",
    ]  # fmt: skip


def test_the_compiler_of_bytecode_is_locked_for_every_platform(archive: Archive) -> None:
    interpreter = lock(archive).suite("bookworm").interpreter
    assert {platform: [p.name for p in found] for platform, found in interpreter.items()} == {
        platform: ["libc6", "python3.11-minimal"] for platform in BOTH
    }


def test_wheels_are_resolved_for_each_platform(archive: Archive, resolver: Resolver) -> None:
    made = lock(archive)
    for platform in BOTH:
        wheels = made.contents("bookworm", platform, "production").wheels
        assert wheels[1].filename.endswith(f"{platform.kernel}.whl")
        assert made.contents("bookworm", platform, "base").wheels == ()
    # The platforms are resolved side by side, in no order.
    assert sorted(resolver.asked, key=lambda asked: str(asked[2])) == [
        ("dep==1.0\n", "bookworm", platform, "requirements/production.txt") for platform in BOTH
    ]


def test_the_lock_names_no_mirror(archive: Archive) -> None:
    text = format_lock(lock(archive)).decode()
    assert str(archive.root) not in text
    assert "://" not in text


def test_the_lock_survives_being_written(archive: Archive) -> None:
    made = lock(archive)
    assert parse_lock(format_lock(made), SHOWN) == made


def test_the_same_archive_gives_the_same_lock(archive: Archive) -> None:
    first = lock(archive)
    again = lock(archive, publish=False)
    assert format_lock(again) == format_lock(first)


def test_the_lock_fits_the_description_that_it_was_made_from(archive: Archive) -> None:
    made = lock(archive)
    settings = settings_of(archive.root.parent / "repository")
    check_current(made, description_inputs(settings, ()), SHOWN)
    assert "requirements/production.in" in made.inputs


def test_the_build_requirements_of_the_project_are_part_of_it(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        pipeline.resolve, "lock_build_requirements", lambda _project, _cache: ("flit-core==3",)
    )
    project = Project.read(write_project(tmp_path / "source"))
    made = lock(archive, project=project)
    assert made.build_requirements == ("flit-core==3",)


def test_a_pinned_package_is_locked_in_that_version(archive: Archive) -> None:
    text = DESCRIPTION.replace('["curl"]', '["curl", "libcurl4=1.0"]')
    (_, libcurl) = lock(archive, text).contents("bookworm", Platform.AMD64, "production").packages
    assert (libcurl.version, libcurl.archive) == ("1.0", "debian")


def test_what_dockerfiles_build_with_is_locked_by_itself(archive: Archive) -> None:
    text = DESCRIPTION + '\n[docker]\nbuild-packages = ["python{python}-minimal"]\n'
    made = lock(archive, text)
    for platform in BOTH:
        (found,) = made.suite("bookworm").docker[platform]
        assert (found.name, found.version) == ("python3.11-minimal", "1.0")
    assert parse_lock(format_lock(made), SHOWN) == made
    assert not any(lock(archive).suite("bookworm").docker.values())
    with pytest.raises(PackageNotFound, match="curk"):
        lock(archive, text.replace("python{python}-minimal", "curk"))


def test_the_version_that_an_image_asks_for_is_what_dockerfiles_build_with(
    archive: Archive,
) -> None:
    text = DESCRIPTION.replace('["curl"]', '["curl", "libcurl4=1.0"]')
    made = lock(archive, text + '\n[docker]\nbuild-packages = ["libcurl4"]\n')
    read = parse_lock(format_lock(made), SHOWN)
    (_, libcurl) = read.contents("bookworm", Platform.AMD64, "production").packages
    assert libcurl.version == "1.0"
    assert read.suite("bookworm").docker[Platform.AMD64] == (libcurl,)


# Omissions


def test_what_is_omitted_takes_its_dependencies_along(archive: Archive) -> None:
    with_debconf = lock(archive, DESCRIPTION.replace('omit = ["debconf"]', ""))
    assert {"debconf", "perl"} <= set(names(with_debconf, "base"))
    assert not {"debconf", "perl"} & set(names(lock(archive), "base"))


def test_an_omission_without_effect_is_refused(archive: Archive) -> None:
    text = DESCRIPTION.replace('["debconf"]', '["debconf", "systemd"]')
    with pytest.raises(SettingsInvalid, match=r"images\.base\.omit names 'systemd'") as caught:
        lock(archive, text)
    assert caught.value.hint == "remove it"


SECOND_SUITE = '[suites.trixie]\npython = "3.13"\nglibc = "2.41"\n\n[images.base]'


def with_trixie(archive: Archive) -> str:
    """Publish a second suite, without debconf, and return a description with both."""
    original = archive.packages
    archive.packages = {
        arch: {
            "python3.13": stanza("python3.13", "python3.13-minimal", arch),
            "python3.13-minimal": stanza("python3.13-minimal", "libc6", arch),
            "libc6": stanza("libc6", "", arch),
            "curl": stanza("curl", "libcurl4", arch),
        }
        for arch in original
    }
    archive.publish("trixie")
    archive.packages = original
    return DESCRIPTION.replace("[images.base]", SECOND_SUITE)


def test_an_omission_counts_where_one_suite_has_a_use_for_it(archive: Archive) -> None:
    made = lock(archive, with_trixie(archive))
    packages = made.contents("trixie", Platform.AMD64, "base").packages
    assert [package.name for package in packages] == ["libc6", "python3.13", "python3.13-minimal"]
    assert list(made.suites) == ["bookworm", "trixie"]


def test_omissions_may_name_the_suite_s_python(archive: Archive) -> None:
    text = DESCRIPTION.replace('["debconf"]', '["debconf", "python{python}-minimal"]')
    assert names(lock(archive, text), "base") == ["python3.11", "tzdata"]


# What cannot be locked


def test_a_package_on_one_platform_alone_is_refused(archive: Archive) -> None:
    del archive.packages["arm64"]["curl"]
    with pytest.raises(PackageNotOnPlatform, match=r"'curl' exists on amd64 but not on arm64"):
        lock(archive)


def test_a_dependency_that_one_platform_lacks_is_refused(archive: Archive) -> None:
    del archive.packages["arm64"]["tzdata"]
    with pytest.raises(PackagesConflict, match=r"python3\.11 needs tzdata.*arm64"):
        lock(archive)


def test_an_unknown_package_is_refused_with_the_nearest(archive: Archive) -> None:
    with pytest.raises(PackageNotFound, match=r"'crul'.*did you mean 'curl'"):
        lock(archive, DESCRIPTION.replace('["curl"]', '["crul"]'))


def test_an_archive_of_somebody_else_is_refused(archive: Archive) -> None:
    archive.key = pysequoia.Tsk.generate("Stranger <stranger@mirror.example>")
    with pytest.raises(SignatureInvalid, match="debian bookworm"):
        lock(archive)


def test_without_a_mirror_the_variable_is_named(archive: Archive) -> None:
    where = archive.root.parent
    sources = Sources(mirrors=[], environ={}, apt_root=where, keyrings=archive.keyrings)
    with pytest.raises(NetworkUnavailable, match="ACCELERAPP_DEBIAN_MIRROR"):
        make_lock(
            settings_of(where / "repository"),
            None,
            Cache(where / "cache"),
            Silent(),
            now=NOW,
            sources=sources,
        )


def test_mirrors_come_from_flags_and_the_environment(archive: Archive) -> None:
    sources = Sources(
        mirrors=["/given/debian"],
        environ={"ACCELERAPP_DEBIAN_MIRROR": "/set/debian"},
        apt_root=archive.root,
    )
    assert sources.mirrors_of()["debian"] == ("/given/debian", "/set/debian")
    assert len(sources.mirrors_of("20250601T020000Z")["debian"]) == 3


def test_mirrors_come_from_this_process_s_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACCELERAPP_DEBIAN_MIRROR", "/set/debian")
    assert Sources(apt_root=tmp_path).mirrors_of()["debian"] == ("/set/debian",)


# Requirements


def test_every_requirements_file_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path)
    (tmp_path / "requirements" / "dev.in").touch()
    asked: list[tuple[str, str, str, bool]] = []

    def compile_one(source: Path, output: Path, *, python: str, root: Path, upgrade: bool) -> None:
        assert root == tmp_path
        asked.append((source.name, output.name, python, upgrade))

    monkeypatch.setattr(pipeline.resolve, "compile_requirements", compile_one)
    compile_all_requirements(settings, Silent(), upgrade=True)
    assert asked == [
        ("dev.in", "dev.txt", "3.11", True),
        ("production.in", "production.txt", "3.11", True),
    ]


def test_changed_requirements_are_noticed(tmp_path: Path) -> None:
    settings_of(tmp_path)
    before = requirements_inputs(tmp_path)
    (tmp_path / "requirements" / "production.in").write_text("dep>=2\n")
    after = requirements_inputs(tmp_path)
    assert list(before) == list(after) == ["requirements/production.in"]
    assert before != after


# Bases from registries.

ON_REGISTRY = (
    DESCRIPTION.partition("[images.production]")[0]
    + """
[images.service]
from = "python:{python}-slim"
requirements = "requirements/production.txt"
"""
)
REFERENCE = "docker.io/library/python:3.11-slim"


class Registries:
    """Stands in for pulling a base."""

    def __init__(self, python: str = "3.11") -> None:
        self.python = python
        self.asked: list[str] = []

    def __call__(
        self, reference: str, platforms: Sequence[Platform], *others: object
    ) -> dict[Platform, LockedBase]:
        self.asked.append(reference)
        facts = BaseFacts(
            self.python, "/usr/local/bin/python3", "site", (2, 41), LinkFacts(), {}, ()
        )
        digest = f"sha256:{len(self.asked):064x}"
        return {p: LockedBase(reference, digest, digest, {}, (), facts) for p in platforms}


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> Registries:
    registries = Registries()
    monkeypatch.setattr(pipeline.resolve, "lock_base", registries)
    return registries


def lock_service(archive: Archive, old: Lock | None = None) -> Lock:
    archive.publish()
    where = archive.root.parent
    return make_lock(
        settings_of(where / "repository", ON_REGISTRY),
        None,
        Cache(where / "cache"),
        Silent(),
        now=NOW,
        sources=archive.sources,
        old=old,
        open_registry=lambda: nullcontext(cast(Any, None)),
    )


def test_a_base_is_locked_for_every_platform(archive: Archive, registries: Registries) -> None:
    made = lock_service(archive)
    assert registries.asked == [REFERENCE]
    for platform in BOTH:
        assert made.base("bookworm", platform, "python:3.11-slim").reference == REFERENCE


def test_wheels_are_resolved_for_the_c_library_of_the_base(
    archive: Archive, registries: Registries, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def remember(text: str, suite: Suite, platform: Platform, *, what: str) -> tuple[()]:
        seen.append(suite.glibc)
        return ()

    monkeypatch.setattr(pipeline.resolve, "resolve_wheels", remember)
    lock_service(archive)
    assert seen == [(2, 41), (2, 41)]


def test_a_base_keeps_its_digest_until_it_is_upgraded(
    archive: Archive, registries: Registries
) -> None:
    first = lock_service(archive)
    again = lock_service(archive, parse_lock(format_lock(first), SHOWN))
    assert registries.asked == [REFERENCE]
    for platform in BOTH:
        kept = again.base("bookworm", platform, REFERENCE)
        assert kept == first.base("bookworm", platform, REFERENCE)
    upgraded = lock_service(archive)
    assert upgraded.base("bookworm", BOTH[0], REFERENCE).digest.endswith("2")


def test_a_base_with_another_python_is_refused(archive: Archive, registries: Registries) -> None:
    registries.python = "3.12"
    with pytest.raises(BaseUnusable, match=r"has Python 3\.12, suite 'bookworm' has 3\.11"):
        lock_service(archive)
