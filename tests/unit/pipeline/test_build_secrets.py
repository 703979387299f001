"""What a Docker build must know is in files of this user's alone, and only when it is set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.build_secrets import BuildSecrets, gather
from pipeline.errors import OptionInvalid
from pipeline.process import Completed

MIRRORS = {
    "ACCELERAPP_DEBIAN_MIRROR": "http://user:pa55@mirror.example/debian",
    "ACCELERAPP_DEBIAN_SECURITY_MIRROR": "https://mirror.example/debian-security/",
}


def gathered(
    folder: Path,
    environ: Mapping[str, str] | None = None,
    *,
    pip: str = "",
    mirrors: tuple[str, ...] = (),
    apt_root: Path = Path("/nowhere"),
) -> BuildSecrets:
    folder.mkdir(exist_ok=True)
    return gather(
        folder,
        suite="bookworm",
        mirrors=mirrors,
        environ=environ or {},
        apt_root=apt_root,
        runner=lambda argv, **_: Completed(argv, 0, pip, ""),
    )


def test_a_machine_without_any_setting_has_no_secrets(tmp_path: Path) -> None:
    found = gathered(tmp_path, pip="global.timeout='60'\n")
    assert (dict(found.files), found.left_out) == ({}, ())
    assert list(tmp_path.iterdir()) == []


# Certificates


def test_the_first_bundle_that_is_set_is_mounted_where_it_is(tmp_path: Path) -> None:
    for name in ("own.pem", "system.pem"):
        (tmp_path / name).write_text("x")
    environ = {
        "SSL_CERT_FILE": str(tmp_path / "system.pem"),
        "ACCELERAPP_CA_BUNDLE": str(tmp_path / "own.pem"),
    }
    assert gathered(tmp_path, environ).files == {"ca": tmp_path / "own.pem"}
    del environ["ACCELERAPP_CA_BUNDLE"]
    assert gathered(tmp_path, environ).files == {"ca": tmp_path / "system.pem"}


def test_a_bundle_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionInvalid, match=r"PIP_CERT names '/no/such\.pem'"):
        gathered(tmp_path, {"PIP_CERT": "/no/such.pem"})
    with pytest.raises(OptionInvalid, match="no readable file"):
        gathered(tmp_path, {"SSL_CERT_FILE": str(tmp_path)})
    large = tmp_path / "large.pem"
    large.write_bytes(bytes(600 * 1024))
    with pytest.raises(OptionInvalid, match="ACCELERAPP_CA_BUNDLE"):
        gathered(tmp_path, {"SSL_CERT_FILE": str(large)})


# pip


def test_pip_s_indexes_are_in_a_file_for_this_user_alone(tmp_path: Path) -> None:
    found = gathered(
        tmp_path,
        pip=(
            ":env:.extra-index-url='https://two.example/simple file:///srv/wheels'\n"
            "global.cert='/etc/ca.pem'\n"
            "global.extra-index-url='https://hidden.example/simple'\n"
            "global.index-url='https://me:s3cret@one.example/simple'\n"
            "global.trusted-host='one.example\\ntwo.example'\n"
        ),
    )
    path = found.files["pip"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == (
        "[global]\n"
        "index-url = https://me:s3cret@one.example/simple\n"
        "extra-index-url = https://two.example/simple\n"
        "trusted-host = one.example\n    two.example\n"
    )
    assert found.redact("at s3cret") == "at ***"
    assert "s3cret" not in repr(found)


def test_pip_s_folders_and_files_stay_on_this_machine(tmp_path: Path) -> None:
    pip = "global.find-links='/srv/wheels'\nglobal.extra-index-url='file:///srv/index'\n"
    assert "pip" not in gathered(tmp_path, pip=pip).files


# Mirrors


def test_apt_s_sources_name_a_mirror_of_each_archive(tmp_path: Path) -> None:
    found = gathered(tmp_path, MIRRORS)
    path = found.files["sources"]
    assert path.stat().st_mode & 0o777 == 0o600
    signed = "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    assert path.read_text() == (
        "Types: deb\nURIs: http://user:pa55@mirror.example/debian\n"
        f"Suites: bookworm bookworm-updates\nComponents: main\n{signed}\n"
        "Types: deb\nURIs: https://mirror.example/debian-security\n"
        f"Suites: bookworm-security\nComponents: main\n{signed}"
    )
    assert found.redact("pa55") == "***"


def test_a_flag_goes_before_the_environment(tmp_path: Path) -> None:
    found = gathered(tmp_path, MIRRORS, mirrors=("https://flag.example/debian",))
    text = found.files["sources"].read_text()
    assert "URIs: https://flag.example/debian\n" in text
    assert "pa55" not in text


def test_the_machine_s_own_sources_count_where_they_are_debian_s(tmp_path: Path) -> None:
    (tmp_path / "apt").mkdir()
    (tmp_path / "apt/sources.list").write_text(
        "deb http://host.example/debian bookworm main\n"
        "deb http://host.example/debian-security bookworm-security main\n"
        "deb http://other.example/packages x main\n"
    )
    found = gathered(tmp_path / "work", apt_root=tmp_path / "apt")
    assert found.files["sources"].read_text().count("host.example") == 2


def test_one_archive_alone_would_lose_the_other(tmp_path: Path) -> None:
    with pytest.raises(OptionInvalid, match=r"none of 'debian-security'; give another --mirror"):
        gathered(tmp_path, mirrors=("https://flag.example/debian",))


def test_a_folder_is_no_mirror_for_a_container(tmp_path: Path) -> None:
    found = gathered(tmp_path, mirrors=("/srv/debian",))
    assert "sources" not in found.files
    assert found.left_out == ("/srv/debian",)


# Proxies


def test_a_proxy_s_password_is_hidden(tmp_path: Path) -> None:
    found = gathered(tmp_path, {"https_proxy": "http://me:pr0xy@proxy.example:1"})
    assert found.redact("pr0xy") == "***"
    assert dict(found.files) == {}
