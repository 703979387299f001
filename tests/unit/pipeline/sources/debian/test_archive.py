"""Mirrors, signatures and indexes, against a small archive signed in the test."""

from __future__ import annotations

import hashlib
import lzma
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pysequoia
import pytest

from pipeline.errors import (
    ArchiveMalformed,
    DownloadCorrupt,
    NetworkUnavailable,
    OptionInvalid,
    SettingsInvalid,
    SignatureInvalid,
    ToolMissing,
)
from pipeline.platforms import Platform
from pipeline.sources.debian.archive import (
    Archive,
    archives_of,
    fetch_release,
    find_mirrors,
    load_suite,
    pool_download,
    verify_release,
)
from pipeline.sources.debian.control import Package

NOW = datetime(2025, 6, 2, tzinfo=UTC)
BOOKWORM = Archive("debian", "bookworm")
REPOSITORY = Path(__file__).parents[5]
Sign = Callable[[str], bytes]


@pytest.fixture(scope="module")
def key() -> pysequoia.Tsk:
    return pysequoia.Tsk.generate("Archive <archive@mirror.example>")


@pytest.fixture
def keyrings(key: pysequoia.Tsk, tmp_path: Path) -> Path:
    folder = tmp_path / "keyrings"
    folder.mkdir()
    (folder / "archive.gpg").write_bytes(bytes(key.extract_certificate()))
    return folder


@pytest.fixture
def sign(key: pysequoia.Tsk) -> Sign:
    return lambda text: clearsign(key, text)


def clearsign(key: pysequoia.Tsk, text: str) -> bytes:
    return pysequoia.sign(key.signer(), text.encode(), mode=pysequoia.SignatureMode.CLEAR)


def release(suite: str = "bookworm", *, sha256: str = "", **fields: str) -> str:
    lines = {
        "Origin": "Debian",
        "Suite": suite.replace("bookworm", "oldstable"),
        "Codename": suite,
        "Date": "Sun, 01 Jun 2025 10:00:00 UTC",
        "Acquire-By-Hash": "yes",
        **{key.replace("_", "-"): value for key, value in fields.items()},
    }
    text = "".join(f"{name}: {value}\n" for name, value in lines.items())
    return f"{text}MD5Sum:\n {'0' * 32} 1 main/x\nSHA256:\n{sha256}"


class Mirror:
    """A directory that looks like `debian` and `debian-security` side by side."""

    def __init__(self, root: Path, sign: Sign) -> None:
        self.root = root
        self._sign = sign
        self.mirrors = {name: (str(root / name),) for name in ("debian", "debian-security")}

    def publish(
        self, archive: Archive, packages: str, platforms: tuple[str, ...] = ("amd64",)
    ) -> list[Path]:
        """Write the archive's InRelease and its indexes, by hash alone; return the indexes."""
        suite = self.root / archive.name / "dists" / archive.suite
        digests = ""
        paths = []
        for platform in platforms:
            compressed = lzma.compress(packages.replace("ARCH", platform).encode())
            digest = hashlib.sha256(compressed).hexdigest()
            folder = suite / "main" / f"binary-{platform}"
            path = folder / "by-hash" / "SHA256" / digest
            path.parent.mkdir(parents=True)
            path.write_bytes(compressed)
            digests += f" {digest} {len(compressed):>8} main/binary-{platform}/Packages.xz\n"
            paths.append(path)
        suite.joinpath("InRelease").write_bytes(self._sign(release(archive.suite, sha256=digests)))
        return paths


@pytest.fixture
def mirror(tmp_path: Path, sign: Sign) -> Mirror:
    return Mirror(tmp_path / "mirror", sign)


def stanza(name: str, version: str, architecture: str = "ARCH") -> str:
    return (
        f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
        f"Filename: pool/main/{name}.deb\nSize: 1\nSHA256: {'0' * 64}\n"
    )


# Mirrors


def test_a_release_is_main_updates_and_security() -> None:
    assert [str(archive) for archive in archives_of("trixie")] == [
        "debian trixie",
        "debian trixie-updates",
        "debian-security trixie-security",
    ]


def test_mirrors_come_in_the_documented_order(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        "deb [arch=amd64 signed-by=/x] http://apt.example/debian/ bookworm main contrib\n"
    )
    assert find_mirrors(
        given=["http://flag.example/debian /srv/mirror", "http://flag.example/debian-security/"],
        environ={
            "ACCELERAPP_DEBIAN_MIRROR": " http://env.example/a/\n/srv/env ",
            "ACCELERAPP_DEBIAN_SECURITY_MIRROR": "http://env.example/s",
        },
        apt_root=tmp_path,
        snapshot="20250601T000000Z",
    ) == {
        "debian": (
            "http://flag.example/debian",
            "/srv/mirror",
            "http://env.example/a",
            "/srv/env",
            "http://apt.example/debian",
            "https://snapshot.debian.org/archive/debian/20250601T000000Z",
        ),
        "debian-security": (
            "http://flag.example/debian-security",
            "http://env.example/s",
            "https://snapshot.debian.org/archive/debian-security/20250601T000000Z",
        ),
    }


def test_only_debian_s_own_sources_of_the_host_are_used(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://off.example/debian bookworm main\n"
        "deb-src http://source.example/debian bookworm main\n"
        "deb http://vendor.example/linux/debian bookworm stable # main\n"
        "deb http://other.example/ubuntu jammy main\n"
        "deb cdrom:[Debian]/debian bookworm main\n"
        "deb mirror+file:/etc/apt/mirrors/debian bookworm main\n"
        "deb http://one.example/debian bookworm contrib main\n"
    )
    (parts / "b.sources").write_text(
        "# a comment\nTypes: deb deb-src\n"
        "URIs: https://two.example/mirror/debian/\n mirror+file:/etc/apt/mirrors/debian\n"
        "Suites: bookworm\nComponents: main\n\n"
        "Enabled: no\nTypes: deb\nURIs: http://disabled.example/debian\nComponents: main\n\n"
        "types: deb\nuris: http://two.example/debian-security file:///srv/debian\n"
        "components: main\n\n"
        "Types: deb-src\nURIs: http://source.example/debian\nComponents: main\n"
    )
    (parts / "broken.sources").write_text("what is this\n")
    (parts / "a.list").write_text("deb http://one.example/debian bookworm-updates main\n")
    (parts / "c.list.disabled").write_text("deb http://disabled.example/debian bookworm main\n")
    assert find_mirrors(environ={}, apt_root=tmp_path) == {
        "debian": (
            "http://one.example/debian",
            "https://two.example/mirror/debian",
            "file:///srv/debian",
        ),
        "debian-security": ("http://two.example/debian-security",),
    }


def test_a_host_without_apt_has_no_mirrors(tmp_path: Path) -> None:
    found = find_mirrors(environ={}, apt_root=tmp_path / "nowhere")
    assert found == {"debian": (), "debian-security": ()}


@pytest.mark.parametrize("snapshot", ["20250601", "2025-06-01T00:00:00Z", "../20250601T000000Z"])
def test_a_snapshot_is_a_time(snapshot: str, tmp_path: Path) -> None:
    with pytest.raises(OptionInvalid, match="YYYYMMDDTHHMMSSZ"):
        find_mirrors(environ={}, apt_root=tmp_path, snapshot=snapshot)


def test_a_package_is_fetched_from_the_mirrors_of_its_archive() -> None:
    package = Package("tzdata", "2024a", "all", "debian-security", "pool/main/t/t.deb", "a" * 64, 7)
    download = pool_download(
        package, {"debian": ("http://m.example",), "debian-security": ("http://s.example", "/srv")}
    )
    assert download.urls == ("http://s.example/pool/main/t/t.deb", "/srv/pool/main/t/t.deb")
    assert (download.sha256, download.size_bytes) == ("a" * 64, 7)
    assert download.mirror_variable == "ACCELERAPP_DEBIAN_SECURITY_MIRROR"


# Signatures


def test_a_signed_release_is_read(keyrings: Path, sign: Sign) -> None:
    text = release(sha256=f" {'a' * 64}     1234 main/binary-amd64/Packages.xz\n")
    found = verify_release(sign(text), BOOKWORM, keyrings, now=NOW)
    assert found.archive == BOOKWORM
    assert found.date == datetime(2025, 6, 1, 10, tzinfo=UTC)
    assert found.by_hash
    assert found.indexes == {"main/binary-amd64/Packages.xz": ("a" * 64, 1234)}


def test_a_changed_byte_is_noticed(keyrings: Path, sign: Sign) -> None:
    tampered = sign(release()).replace(b"Origin: Debian", b"Origin: Demian")
    with pytest.raises(SignatureInvalid) as caught:
        verify_release(tampered, BOOKWORM, keyrings, now=NOW)
    assert "debian bookworm" in caught.value.message
    assert "\n" not in str(caught.value)
    assert "backtrace" not in str(caught.value)


def test_a_key_that_is_not_ours_is_refused(keyrings: Path) -> None:
    stranger = pysequoia.Tsk.generate("Stranger <stranger@mirror.example>")
    with pytest.raises(SignatureInvalid):
        verify_release(clearsign(stranger, release()), BOOKWORM, keyrings, now=NOW)


@pytest.mark.parametrize("data", [b"", b"junk", release().encode()], ids=["empty", "junk", "bare"])
def test_what_is_not_signed_is_refused(keyrings: Path, data: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        verify_release(data, BOOKWORM, keyrings, now=NOW)


def test_text_around_the_signed_part_is_not_believed(keyrings: Path, sign: Sign) -> None:
    signed = sign(release(sha256=f" {'a' * 64} 1 main/x\n"))
    forged = f"Codename: bookworm\nSHA256:\n {'b' * 64} 1 main/x\n\n".encode()
    for data in (forged + signed, signed + b"\n" + forged):
        try:
            found = verify_release(data, BOOKWORM, keyrings, now=NOW)
        except SignatureInvalid:
            continue
        assert found.indexes == {"main/x": ("a" * 64, 1)}


def test_an_expired_release_is_refused(keyrings: Path, sign: Sign) -> None:
    signed = sign(release(Valid_Until="Sun, 01 Jun 2025 12:00:00 UTC"))
    with pytest.raises(SignatureInvalid, match=r"valid until Sun, 01 Jun 2025.*clock"):
        verify_release(signed, BOOKWORM, keyrings, now=NOW)
    verify_release(signed, BOOKWORM, keyrings, now=datetime(2025, 6, 1, 11, tzinfo=UTC))


def test_another_suite_is_refused(keyrings: Path, sign: Sign) -> None:
    with pytest.raises(SignatureInvalid, match=r"describes 'trixie'"):
        verify_release(sign(release("trixie")), BOOKWORM, keyrings, now=NOW)


def test_a_suite_may_be_asked_for_by_its_other_name(keyrings: Path, sign: Sign) -> None:
    archive = Archive("debian", "oldstable")
    assert verify_release(sign(release()), archive, keyrings, now=NOW).archive == archive


@pytest.mark.parametrize(
    "text",
    [
        release(Date="yesterday"),
        release().replace("Date:", "Day:"),
        release(Valid_Until="some day"),
        release(sha256=" abc 1 main/x\n"),
        "no colon",
    ],
)
def test_a_signed_release_that_cannot_be_read(keyrings: Path, sign: Sign, text: str) -> None:
    with pytest.raises(ArchiveMalformed):
        verify_release(sign(text), BOOKWORM, keyrings, now=NOW)


def test_a_folder_without_keyrings_is_an_error(tmp_path: Path, sign: Sign) -> None:
    with pytest.raises(SignatureInvalid, match="no keyrings in"):
        verify_release(sign(release()), BOOKWORM, tmp_path, now=NOW)


def test_a_keyring_that_is_none_is_an_error(keyrings: Path, sign: Sign) -> None:
    (keyrings / "archive.gpg").write_bytes(b"not a keyring")
    with pytest.raises(SignatureInvalid):
        verify_release(sign(release()), BOOKWORM, keyrings, now=NOW)


def test_without_pysequoia_the_remedy_is_named(
    keyrings: Path, sign: Sign, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = sign(release())
    monkeypatch.setitem(sys.modules, "pysequoia", None)
    with pytest.raises(ToolMissing, match=r"pysequoia.*requirements/dev\.txt"):
        verify_release(signed, BOOKWORM, keyrings, now=NOW)


def test_the_repository_carries_debian_s_keys_and_lists_their_fingerprints() -> None:
    folder = REPOSITORY / "deployment" / "keyrings"
    readme = (folder / "README.md").read_text()
    files = sorted(folder.glob("*.gpg"))
    assert [file.stem for file in files] == [
        f"debian-archive-{codename}-{kind}"
        for codename in ("bookworm", "trixie")
        for kind in ("automatic", "security-automatic", "stable")
    ]
    for file in files:
        (certificate,) = pysequoia.Cert.split_file(str(file))
        (line,) = [text for text in readme.splitlines() if f"`{file.name}`" in text]
        assert certificate.fingerprint.upper() in line.replace(" ", "")


# Fetching


def test_the_next_mirror_stands_in_for_one_that_is_missing_or_not_debian_s(
    mirror: Mirror, keyrings: Path, tmp_path: Path
) -> None:
    mirror.publish(BOOKWORM, stanza("a", "1"))
    stranger = pysequoia.Tsk.generate("Vendor <vendor@mirror.example>")
    vendor = Mirror(tmp_path / "vendor", lambda text: clearsign(stranger, text))
    vendor.publish(BOOKWORM, stanza("a", "666"))
    bases = (str(tmp_path / "nowhere"), *vendor.mirrors["debian"], *mirror.mirrors["debian"])
    found = fetch_release(BOOKWORM, {"debian": bases}, keyrings, now=NOW)
    assert "main/binary-amd64/Packages.xz" in found.indexes
    with pytest.raises(SignatureInvalid):
        fetch_release(BOOKWORM, {"debian": bases[:2]}, keyrings, now=NOW)
    with pytest.raises(NetworkUnavailable, match="nowhere") as caught:
        fetch_release(BOOKWORM, {"debian": bases[:1]}, keyrings, now=NOW)
    assert "ACCELERAPP_DEBIAN_MIRROR" in caught.value.hint
    with pytest.raises(NetworkUnavailable, match="no mirror of debian bookworm is known"):
        fetch_release(BOOKWORM, {"debian": ()}, keyrings, now=NOW)


def test_indexes_join_the_archives_of_a_release(
    mirror: Mirror, keyrings: Path, tmp_path: Path
) -> None:
    main, updates, security = archives_of("bookworm")
    both = ("amd64", "arm64")
    mirror.publish(main, stanza("a", "1") + "\n" + stanza("b", "1", "all"), both)
    mirror.publish(updates, stanza("b", "2", "all"), both)
    mirror.publish(security, stanza("a", "1+deb12u1"), both)
    store = tmp_path / "store"
    loaded = load_suite(
        "bookworm",
        (Platform.ARM64, Platform.AMD64),
        mirrors=mirror.mirrors,
        keyrings=keyrings,
        store=store.joinpath,
        now=NOW,
    )
    assert [str(release.archive) for release in loaded.releases] == [
        "debian bookworm",
        "debian bookworm-updates",
        "debian-security bookworm-security",
    ]
    assert list(loaded.indexes) == [Platform.ARM64, Platform.AMD64]
    for platform, index in loaded.indexes.items():
        a, b = index.candidate("a"), index.candidate("b")
        assert a is not None
        assert b is not None
        assert (a.version, a.archive) == ("1+deb12u1", "debian-security")
        assert a.architecture == platform.debian
        assert (b.version, b.archive) == ("2", "debian")
    # Updates' index is the same for both platforms here, and stored once.
    assert len(list(store.iterdir())) == 5


def load(mirror: Mirror, keyrings: Path, store: Path, *platforms: Platform) -> None:
    load_suite(
        "bookworm",
        platforms,
        mirrors=mirror.mirrors,
        keyrings=keyrings,
        store=store.joinpath,
        now=NOW,
    )


def test_an_index_is_found_at_its_plain_path_too(
    mirror: Mirror, keyrings: Path, tmp_path: Path
) -> None:
    for archive in archives_of("bookworm"):
        for path in mirror.publish(archive, stanza("a", "1")):
            path.rename(path.parents[2] / "Packages.xz")
    load(mirror, keyrings, tmp_path / "store", Platform.AMD64)
    assert list((tmp_path / "store").iterdir())


def test_a_changed_index_is_noticed(mirror: Mirror, keyrings: Path, tmp_path: Path) -> None:
    for archive in archives_of("bookworm"):
        for path in mirror.publish(archive, stanza("a", "1")):
            path.write_bytes(lzma.compress(stanza("a", "6").encode()))
    with pytest.raises(DownloadCorrupt, match=r"package index of debian bookworm.*\(amd64\)"):
        load(mirror, keyrings, tmp_path / "store", Platform.AMD64)


def test_a_platform_that_the_release_lacks(mirror: Mirror, keyrings: Path, tmp_path: Path) -> None:
    for archive in archives_of("bookworm"):
        mirror.publish(archive, stanza("a", "1"))
    with pytest.raises(SettingsInvalid, match="debian bookworm has no packages for arm64"):
        load(mirror, keyrings, tmp_path / "store", Platform.ARM64)
