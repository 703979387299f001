"""Paragraphs, relations, packages and the index."""

from __future__ import annotations

import pytest

from pipeline.errors import ArchiveMalformed
from pipeline.sources.debian.control import (
    Package,
    PackageIndex,
    Relation,
    paragraphs,
    parse_package,
    parse_paragraph,
    parse_relations,
)

LIBC6 = f"""\
Package: libc6
Source: glibc (2.36-9)
Version: 2.36-9+deb12u10
Architecture: amd64
Priority: optional
Depends: libgcc-s1, libcrypt1 (>= 1:4.4.10-10~)
Description: GNU C Library: Shared libraries
 Depends: nothing, this is text
Filename: pool/main/g/glibc/libc6_2.36-9+deb12u10_amd64.deb
Size: 2758480
SHA256: {"a" * 64}"""


def stanza(name: str, version: str = "1", architecture: str = "amd64", **fields: str) -> str:
    lines = {
        "Package": name,
        "Version": version,
        "Architecture": architecture,
        "Filename": f"pool/main/{name}_{version}_{architecture}.deb",
        "Size": "1",
        "SHA256": "0" * 64,
    }
    return "".join(f"{key}: {value}\n" for key, value in {**lines, **fields}.items())


def index(*stanzas: str, architecture: str = "amd64") -> PackageIndex:
    return PackageIndex(architecture, [("debian", "\n".join(stanzas).encode())])


def test_paragraph_fields() -> None:
    assert parse_paragraph(
        "Package: a\nTAG: x,\n y\n\tz\n# comment\nEmpty:\nUrl: http://a:1\n"
    ) == {
        "package": "a",
        "tag": "x,\ny\nz",
        "empty": "",
        "url": "http://a:1",
    }


@pytest.mark.parametrize("text", ["no colon", " continued: first", ": nameless", "Bad : name"])
def test_a_line_that_is_no_field_is_quoted(text: str) -> None:
    with pytest.raises(ArchiveMalformed, match=text.strip()):
        parse_paragraph(text)


def test_paragraphs_are_divided_by_blank_lines() -> None:
    text = "\n\nA: 1\nB: 2\n\n \t\nA: 3\n\n# only a comment\n\nA: 4\n"
    assert list(paragraphs(text)) == [{"a": "1", "b": "2"}, {"a": "3"}, {"a": "4"}]


def test_relations() -> None:
    field = "a, b (>= 1:2~) | c:any (<<3),d:native [amd64 arm64],\n e (= 4) [!i386] ,"
    assert parse_relations(field) == (
        (Relation("a"),),
        (Relation("b", ">=", "1:2~"), Relation("c", "<<", "3", qualifier="any")),
        (Relation("d", qualifier="native", architectures=("amd64", "arm64")),),
        (Relation("e", "=", "4", architectures=("!i386",)),),
    )
    assert parse_relations("") == ()


def test_a_relation_reads_as_it_is_written() -> None:
    ((relation,),) = parse_relations("libc6:any ( >=  2.36 )")
    assert str(relation) == "libc6:any (>= 2.36)"


@pytest.mark.parametrize(
    "field", ["a b", "a (1)", "a (>= )", "a (=> 1)", "a | ", "_a", "a (>= 1 2)", "a (>= 1:)"]
)
def test_a_relation_that_cannot_be_read(field: str) -> None:
    with pytest.raises(ArchiveMalformed):
        parse_relations(field)


@pytest.mark.parametrize(
    ("operator", "admitted"),
    [
        ("<<", ["1.9"]),
        ("<=", ["1.9", "2.0"]),
        ("=", ["2.0"]),
        (">=", ["2.0", "10"]),
        (">>", ["10"]),
        ("<", ["1.9", "2.0"]),
        (">", ["2.0", "10"]),
    ],
)
def test_operators(operator: str, admitted: list[str]) -> None:
    ((relation,),) = parse_relations(f"a ({operator} 2.0)")
    assert [v for v in ("1.9", "2.0", "10") if relation.admits(v)] == admitted


@pytest.mark.parametrize(
    ("restriction", "architecture", "applies"),
    [
        ("amd64", "amd64", True),
        ("amd64", "arm64", False),
        ("i386 arm64", "arm64", True),
        ("!amd64", "amd64", False),
        ("!amd64", "arm64", True),
        ("linux-any", "arm64", True),
        ("any-arm64", "arm64", True),
        ("any-arm64", "amd64", False),
        ("kfreebsd-any", "amd64", False),
        ("!linux-any", "amd64", False),
    ],
)
def test_architecture_restrictions(restriction: str, architecture: str, applies: bool) -> None:
    ((relation,),) = parse_relations(f"a [{restriction}]")
    assert relation.applies_to(architecture) is applies


def test_package_fields() -> None:
    package = parse_package(LIBC6, "debian-security")
    assert package == Package(
        name="libc6",
        version="2.36-9+deb12u10",
        architecture="amd64",
        archive="debian-security",
        path="pool/main/g/glibc/libc6_2.36-9+deb12u10_amd64.deb",
        sha256="a" * 64,
        size_bytes=2758480,
        source="glibc",
        depends="libgcc-s1, libcrypt1 (>= 1:4.4.10-10~)",
    )
    assert [str(r) for (r,) in package.relations("pre_depends", "depends")] == [
        "libgcc-s1",
        "libcrypt1 (>= 1:4.4.10-10~)",
    ]


def test_relations_of_another_architecture_are_left_out() -> None:
    package = parse_package(stanza("a", Depends="b [arm64] | c, d [arm64]"), "debian")
    assert list(package.relations("depends")) == [(Relation("c"),)]


@pytest.mark.parametrize("field", ["Version", "Architecture", "Filename", "Size", "SHA256"])
def test_a_package_without_an_essential_field_is_named(field: str) -> None:
    text = "\n".join(line for line in LIBC6.splitlines() if not line.startswith(field))
    with pytest.raises(ArchiveMalformed, match=rf"libc6.*{field.lower()}"):
        parse_package(text, "debian")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Filename", "../../etc/passwd"),
        ("Filename", "pool/../../etc/passwd"),
        ("Filename", "/pool/a.deb"),
        ("SHA256", "abc"),
        ("Size", "-1"),
        ("Version", "1_2"),
    ],
)
def test_a_package_with_a_dangerous_field_is_refused(field: str, value: str) -> None:
    with pytest.raises(ArchiveMalformed):
        parse_package(stanza("a", **{field: value}), "debian")


@pytest.mark.parametrize(
    ("relation", "answered"),
    [
        ("a", True),
        ("a (>= 2)", True),
        ("a (>> 2)", False),
        ("a:any", True),
        ("a:amd64", True),
        ("a:arm64", False),
        ("plain", True),
        ("plain (>= 1)", False),
        ("exact (= 5)", True),
        ("exact (>= 6)", False),
        ("other", False),
    ],
)
def test_what_a_package_answers_to(relation: str, answered: bool) -> None:
    package = parse_package(stanza("a", "2", Provides="plain, exact (= 5)"), "debian")
    ((wanted,),) = parse_relations(relation)
    assert package.answers(wanted) is answered


def test_the_highest_version_of_all_archives_is_the_candidate() -> None:
    main = stanza("a", "1.9") + "\n" + stanza("b", "2")
    security = stanza("a", "1.10") + "\n" + stanza("b", "2")
    both = PackageIndex(
        "amd64", [("debian", main.encode()), ("debian-security", security.encode())]
    )
    a, b = both.candidate("a"), both.candidate("b")
    assert a is not None
    assert b is not None
    assert (a.version, a.archive) == ("1.10", "debian-security")
    assert (b.version, b.archive) == ("2", "debian")
    assert [p.version for p in both.versions("a")] == ["1.10", "1.9"]


def test_packages_of_another_architecture_are_not_there() -> None:
    packages = index(stanza("a", architecture="arm64"), stanza("b", architecture="all"))
    assert "a" not in packages
    assert "b" in packages
    assert packages.candidate("missing") is None


def test_providers_are_ordered_by_priority_then_name() -> None:
    packages = index(
        stanza("zsh", Provides="shell"),
        stanza("bash", Provides="x, shell (= 1),\n y", Priority="optional"),
        stanza("dash", Provides="shell", Priority="required"),
        stanza("fish", Depends="shell", Description="x\n Provides: shell"),
    )
    assert [p.name for p in packages.providers("shell")] == ["dash", "bash", "zsh"]
    assert [p.name for p in packages.providers("y")] == ["bash"]
    assert packages.providers("nothing") == ()


def test_what_only_an_older_version_provided_is_not_provided() -> None:
    packages = index(stanza("a", "1", Provides="v"), stanza("a", "2"))
    assert packages.providers("v") == ()


def test_fields_may_come_in_any_order() -> None:
    packages = index("Version: 1\n" + stanza("a").replace("Version: 1\n", ""))
    assert "a" in packages
