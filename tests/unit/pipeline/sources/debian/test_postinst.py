"""Maintainer scripts: every effect is in the image, and nothing ran."""

from __future__ import annotations

import pytest

from pipeline.entries import Entry, Kind, symlink
from pipeline.errors import MaintainerScriptUnaudited
from pipeline.sources.debian.postinst import AUDITED, Audit, audit_of, effects


def tree_of(*entries: Entry) -> dict[str, Entry]:
    return {entry.path: entry for entry in entries}


def after(package: str, *entries: Entry) -> dict[str, Entry]:
    """Return what the postinst of `package` adds to a layer with `entries`."""
    return tree_of(*effects([package], tree_of(*entries)))


@pytest.mark.parametrize("pattern", AUDITED)
def test_each_audit_says_why_it_is_enough(pattern: str) -> None:
    assert len(AUDITED[pattern].why.split()) >= 4


@pytest.mark.parametrize("pattern", AUDITED)
def test_audits_name_relative_paths_and_absolute_programs(pattern: str) -> None:
    audit = AUDITED[pattern]
    relative = [*audit.copies, *audit.copies.values(), *audit.links, *audit.alternatives]
    relative += [*audit.folders, *audit.texts]
    assert not [path for path in relative if path.startswith("/") or path.endswith("/")]
    assert all(program.startswith("/usr/") for program in audit.alternatives.values())
    # A merged /usr: what is below /bin, /lib and /sbin is a link's business.
    assert not [path for path in relative if path.split("/")[0] in ("bin", "lib", "sbin")]


def test_a_script_that_nobody_has_read_stops_the_build() -> None:
    with pytest.raises(MaintainerScriptUnaudited, match="'mysterious'") as caught:
        list(effects(["tzdata", "mysterious"], {}))
    assert "postinst.py" in caught.value.hint


@pytest.mark.parametrize(
    "package",
    ["python3.11", "python3.13-minimal", "libpython3.11-minimal", "libc6", "ca-certificates"],
)
def test_versions_of_python_share_an_audit(package: str) -> None:
    assert audit_of(package) is not None


@pytest.mark.parametrize(
    "package", ["python3", "python311", "libpython3.11-stdlib", "libc6-dev", "bash-static", ""]
)
def test_names_that_look_alike_are_not_audited(package: str) -> None:
    assert audit_of(package) is None


@pytest.mark.parametrize(
    ("pattern", "destination", "source"),
    [(p, d, s) for p, audit in AUDITED.items() for d, s in audit.copies.items()],
)
def test_defaults_are_copied(pattern: str, destination: str, source: str) -> None:
    copied = after(pattern, Entry(source, content=b"default"))[destination]
    assert (copied.kind, copied.read(), copied.mode) == (Kind.FILE, b"default", 0o644)
    assert copied.origin == pattern
    assert destination not in after(pattern)


@pytest.mark.parametrize(
    ("pattern", "name", "program"),
    [(p, n, t) for p, audit in AUDITED.items() for n, t in audit.alternatives.items()],
)
def test_alternatives_lead_to_programs_that_are_there(
    pattern: str, name: str, program: str
) -> None:
    found = after(pattern, Entry(program[1:], mode=0o755))
    generic = found[name]
    assert generic.target.startswith("/etc/alternatives/")
    assert found[generic.target[1:]].target == program
    assert {generic.kind, found[generic.target[1:]].kind} == {Kind.SYMLINK}
    assert name not in after(pattern)
    assert not [path for path in after(pattern) if path.startswith("etc/alternatives/")]


@pytest.mark.parametrize(
    ("pattern", "path", "target"),
    [(p, path, t) for p, audit in AUDITED.items() for path, t in audit.links.items()],
)
def test_links_are_made(pattern: str, path: str, target: str) -> None:
    link = after(pattern)[path]
    assert (link.kind, link.target) == (Kind.SYMLINK, target)


@pytest.mark.parametrize(
    ("pattern", "path", "mode"),
    [(p, path, mode) for p, audit in AUDITED.items() for path, mode in audit.folders.items()],
)
def test_folders_are_made(pattern: str, path: str, mode: int) -> None:
    made = after(pattern)[path]
    assert (made.kind, made.mode, made.uid, made.gid) == (Kind.DIRECTORY, mode, 0, 0)


def test_folders_for_everyone_keep_the_sticky_bit() -> None:
    made = after("base-files")
    assert made["run/lock"].mode == 0o1777
    assert made["var/mail"].mode == 0o2775


def test_the_zone_is_utc() -> None:
    made = after("tzdata")
    assert made["etc/timezone"].read() == b"Etc/UTC\n"
    assert made["etc/localtime"].target == "/usr/share/zoneinfo/Etc/UTC"


def test_accounts_are_debian_s() -> None:
    made = after(
        "base-passwd",
        Entry("usr/share/base-passwd/passwd.master", content=b"root:*:0:0\n"),
        Entry("usr/share/base-passwd/group.master", content=b"root:*:0\n"),
    )
    assert made["etc/passwd"].read() == b"root:*:0:0\n"
    assert made["etc/group"].read() == b"root:*:0\n"


def test_networks_have_names() -> None:
    assert b"loopback\t127.0.0.0\n" in after("netbase")["etc/networks"].read()


def test_host_names_are_looked_up_as_libc_wants() -> None:
    default = Entry("usr/share/libc-bin/nsswitch.conf", content=b"hosts: files dns\n")
    assert after("libc-bin", default)["etc/nsswitch.conf"].read() == b"hosts: files dns\n"


def test_the_bundle_has_every_certificate_in_a_fixed_order() -> None:
    folder = "usr/share/ca-certificates/mozilla"
    made = after(
        "ca-certificates",
        Entry(f"{folder}/Z.crt", content=b"Z\n"),
        Entry(f"{folder}/A.crt", content=b"A"),
        Entry(f"{folder}/README", content=b"no certificate"),
        Entry("usr/share/other/B.crt", content=b"B\n"),
        symlink(f"{folder}/L.crt", "Z.crt"),
    )
    bundle = made["etc/ssl/certs/ca-certificates.crt"].read()
    assert bundle.split() == [b"A", b"Z"]
    assert bundle.endswith(b"\n")
    assert made["usr/lib/ssl/cert.pem"].target == "/etc/ssl/certs/ca-certificates.crt"
    assert made["usr/lib/ssl/certs"].target == "/etc/ssl/certs"


def test_what_a_package_ships_is_not_replaced() -> None:
    own = Entry("etc/timezone", content=b"Europe/Berlin\n", origin="tzdata")
    assert "etc/timezone" not in after("tzdata", own)


@pytest.mark.parametrize("package", ["libc6", "perl", "git", "usrmerge", "python3.11-minimal"])
def test_scripts_without_an_effect_add_nothing(package: str) -> None:
    assert after(package) == {}
    audit = audit_of(package)
    assert audit is not None
    assert audit == Audit(audit.why)
