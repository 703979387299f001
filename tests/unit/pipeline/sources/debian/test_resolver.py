"""Closures over small made-up archives."""

from __future__ import annotations

import itertools

import pytest

from pipeline.errors import (
    OptionInvalid,
    PackageNotFound,
    PackageNotOnPlatform,
    PackagesConflict,
)
from pipeline.platforms import Platform
from pipeline.sources.debian.control import PackageIndex
from pipeline.sources.debian.resolver import resolve, resolve_all, unused_omissions


def stanza(name: str, version: str = "1", architecture: str = "amd64", **fields: str) -> str:
    lines = {
        "Package": name,
        "Version": version,
        "Architecture": architecture,
        "Filename": f"pool/main/{name}_{version}_{architecture}.deb",
        "Size": "1",
        "SHA256": "0" * 64,
        **{key.replace("_", "-"): value for key, value in fields.items()},
    }
    return "".join(f"{key}: {value}\n" for key, value in lines.items())


def index(*stanzas: str, architecture: str = "amd64") -> PackageIndex:
    return PackageIndex(architecture, [("debian", "\n".join(stanzas).encode())])


def names(roots: list[str], packages: PackageIndex, *omit: str) -> list[str]:
    return [package.name for package in resolve(roots, packages, omit=frozenset(omit))]


def test_pre_depends_and_depends_are_followed_and_recommends_are_not() -> None:
    packages = index(
        stanza("a", Depends="c", Pre_Depends="b", Recommends="r", Suggests="s"),
        stanza("b", Depends="d"),
        stanza("c", Depends="a"),
        stanza("d", architecture="all"),
        stanza("r"),
        stanza("s"),
    )
    assert names(["a"], packages) == ["a", "b", "c", "d"]


def test_the_highest_version_is_chosen_from_any_archive() -> None:
    main = stanza("libc6", "2.36-9+deb12u9")
    security = stanza("libc6", "2.36-9+deb12u10")
    for order in itertools.permutations([("debian", main), ("debian-security", security)]):
        packages = PackageIndex("amd64", [(name, text.encode()) for name, text in order])
        (chosen,) = resolve(["libc6"], packages)
        assert (chosen.version, chosen.archive) == ("2.36-9+deb12u10", "debian-security")


def test_the_first_alternative_is_chosen() -> None:
    packages = index(stanza("a", Depends="b | c"), stanza("b"), stanza("c"))
    assert names(["a"], packages) == ["a", "b"]


def test_an_alternative_that_is_a_root_is_chosen() -> None:
    packages = index(stanza("a", Depends="b | c"), stanza("b"), stanza("c"))
    assert names(["a", "c"], packages) == ["a", "c"]


def test_an_alternative_that_something_else_needs_is_chosen() -> None:
    packages = index(
        stanza("a", Depends="b | c, d"), stanza("b"), stanza("c"), stanza("d", Depends="c")
    )
    assert names(["a"], packages) == ["a", "c", "d"]


def test_an_alternative_that_cannot_be_had_is_passed_over() -> None:
    packages = index(stanza("a", Depends="nowhere | b (>= 2) | c"), stanza("b"), stanza("c"))
    assert names(["a"], packages) == ["a", "c"]


def test_a_virtual_package_is_provided_by_what_is_selected_already() -> None:
    packages = index(
        stanza("a", Depends="mta"), stanza("exim", Provides="mta"), stanza("zmail", Provides="mta")
    )
    assert names(["a", "zmail"], packages) == ["a", "zmail"]


def test_a_real_package_goes_before_its_providers() -> None:
    packages = index(stanza("z", Depends="mawk"), stanza("a", Provides="mawk"), stanza("mawk"))
    assert names(["z"], packages) == ["mawk", "z"]


def test_the_provider_is_the_most_important_one_then_the_first_by_name() -> None:
    packages = index(
        stanza("a", Depends="awk"),
        stanza("gawk", Provides="awk"),
        stanza("mawk", Provides="awk", Priority="required"),
        stanza("original-awk", Provides="awk", Priority="required"),
    )
    assert names(["a"], packages) == ["a", "mawk"]


def test_a_versioned_dependency_needs_a_versioned_provision() -> None:
    packages = index(
        stanza("a", Depends="v (>= 2)"),
        stanza("bare", Provides="v", Priority="required"),
        stanza("old", Provides="v (= 1)", Priority="required"),
        stanza("new", Provides="v (= 2)"),
    )
    assert names(["a"], packages) == ["a", "new"]


def test_a_provider_stands_in_for_a_real_package_that_is_too_old() -> None:
    packages = index(
        stanza("a", Depends="v (>= 2)"), stanza("v", "1"), stanza("new", Provides="v (= 2)")
    )
    assert names(["a"], packages) == ["a", "new"]


def test_an_omitted_package_stays_out_with_what_only_it_needs() -> None:
    packages = index(
        stanza("tzdata", Depends="debconf (>= 0.5) | debconf-2.0"),
        stanza("debconf", Provides="debconf-2.0", Depends="perl", Priority="required"),
        stanza("cdebconf", Provides="debconf-2.0"),
        stanza("perl"),
    )
    assert names(["tzdata"], packages) == ["debconf", "perl", "tzdata"]
    assert names(["tzdata"], packages, "debconf") == ["tzdata"]


def test_the_next_alternative_stands_in_for_an_omitted_one() -> None:
    packages = index(stanza("a", Depends="b | c"), stanza("b"), stanza("c"))
    assert names(["a"], packages, "b") == ["a", "c"]
    assert names(["a"], packages, "b", "c") == ["a"]


def test_omissions_that_change_nothing_are_reported() -> None:
    packages = index(stanza("a", Depends="b"), stanza("b"), stanza("c"))
    indexes = {Platform.AMD64: packages}
    omit = frozenset({"b", "c", "gone"})
    assert unused_omissions(["a"], indexes, omit=omit) == ("c", "gone")


def test_an_omission_used_on_one_platform_is_used() -> None:
    indexes = {
        Platform.AMD64: index(stanza("a", Depends="b"), stanza("b")),
        Platform.ARM64: index(stanza("a", architecture="arm64"), architecture="arm64"),
    }
    assert unused_omissions(["a"], indexes, omit=frozenset({"b"})) == ()


def test_a_root_cannot_be_omitted() -> None:
    with pytest.raises(OptionInvalid, match="'a' is both asked for and omitted"):
        names(["a"], index(stanza("a")), "a")


def test_the_chain_to_an_unfulfilled_dependency_is_told() -> None:
    packages = index(
        stanza("app", Depends="middle"), stanza("middle", Depends="lib (>= 2)"), stanza("lib", "1")
    )
    with pytest.raises(PackagesConflict) as caught:
        names(["app"], packages)
    assert "app → middle needs lib (>= 2)" in caught.value.message
    assert "the archive has lib 1 for amd64" in caught.value.message


def test_a_dependency_on_nothing_is_told() -> None:
    with pytest.raises(PackagesConflict, match=r"a needs b \| c.* has no b, no c for amd64"):
        names(["a"], index(stanza("a", Depends="b | c")))


@pytest.mark.parametrize("field", ["Conflicts", "Breaks"])
def test_packages_that_exclude_each_other(field: str) -> None:
    packages = index(stanza("a", Depends="b, c"), stanza("b", **{field: "c (<< 2)"}), stanza("c"))
    with pytest.raises(PackagesConflict) as caught:
        names(["a"], packages)
    assert "b 1 excludes c (<< 2), and so c 1" in str(caught.value)
    assert "a → b" in caught.value.hint
    assert "a → c" in caught.value.hint


def test_a_conflict_with_another_version_is_none() -> None:
    packages = index(stanza("a", Depends="b", Breaks="b (<< 2)"), stanza("b", "2"))
    assert names(["a"], packages) == ["a", "b"]


def test_a_package_does_not_conflict_with_what_it_provides() -> None:
    packages = index(stanza("a", Provides="mta", Conflicts="mta", Breaks="a (<< 2)"))
    assert names(["a"], packages) == ["a"]


def test_two_providers_of_a_virtual_package_that_both_conflict_with_it() -> None:
    packages = index(
        stanza("a", Provides="mta", Conflicts="mta"), stanza("b", Provides="mta", Conflicts="mta")
    )
    with pytest.raises(PackagesConflict, match="a 1 excludes mta, and so b 1"):
        names(["a", "b"], packages)


def test_a_root_may_be_pinned() -> None:
    packages = index(stanza("a", Depends="b (<< 2)"), stanza("b", "2"), stanza("b", "1.0"))
    assert [p.version for p in resolve(["a", "b=1.0-0"], packages)] == ["1", "1.0"]
    with pytest.raises(PackagesConflict, match=r"needs b \(<< 2\), .* has b 2 for"):
        resolve(["a", "b"], packages)


def test_a_pin_holds_for_dependents_too() -> None:
    packages = index(stanza("a", Depends="b (>= 2)"), stanza("b", "2"), stanza("b", "1"))
    with pytest.raises(PackagesConflict, match=r"has b 1 \(pinned\)"):
        resolve(["a", "b=1"], packages)


def test_a_pin_to_an_unknown_version_lists_the_known_ones() -> None:
    with pytest.raises(PackageNotFound, match=r"no version 3 .*the archive has 2, 1"):
        resolve(["b=3"], index(stanza("b", "1"), stanza("b", "2")))


@pytest.mark.parametrize("root", ["", "=1", "a=", "a=1_2"])
def test_a_root_that_cannot_be_read(root: str) -> None:
    with pytest.raises(OptionInvalid):
        resolve([root], index(stanza("a")))


def test_two_pins_of_one_package_are_refused() -> None:
    with pytest.raises(OptionInvalid, match="two versions"):
        resolve(["a=1", "a=2"], index(stanza("a", "1"), stanza("a", "2")))


def test_an_unknown_root_gets_a_suggestion() -> None:
    packages = index(stanza("python3.11"), stanza("perl"), stanza("tzdata"))
    with pytest.raises(PackageNotFound, match=r"'pyhton3.11'.*did you mean 'python3.11'"):
        resolve(["pyhton3.11"], packages)


def test_a_virtual_root_names_its_providers() -> None:
    packages = index(stanza("b", Provides="v"), stanza("a", Provides="v"))
    with pytest.raises(PackageNotFound, match=r"'v' is virtual; .*: a, b"):
        resolve(["v"], packages)


def test_the_order_of_archive_and_roots_does_not_matter() -> None:
    stanzas = [
        stanza("a", Depends="v | w, x"),
        stanza("b", Depends="w | v"),
        stanza("p", Provides="v"),
        stanza("q", Provides="v, w"),
        stanza("x", architecture="all"),
    ]
    results = {resolve(["a", "b"], index(*order)) for order in itertools.permutations(stanzas)}
    assert len(results) == 1
    (result,) = results
    assert [p.name for p in result] == sorted(p.name for p in result)


def test_every_platform_is_resolved_by_itself() -> None:
    indexes = {
        Platform.AMD64: index(stanza("a", Depends="b"), stanza("b")),
        Platform.ARM64: index(stanza("a", "2", architecture="arm64"), architecture="arm64"),
    }
    resolved = resolve_all(["a"], indexes)
    assert [p.name for p in resolved[Platform.AMD64]] == ["a", "b"]
    assert [(p.name, p.architecture) for p in resolved[Platform.ARM64]] == [("a", "arm64")]


def test_a_root_that_one_platform_lacks() -> None:
    indexes = {
        Platform.AMD64: index(stanza("x")),
        Platform.ARM64: index(stanza("y", architecture="arm64"), architecture="arm64"),
    }
    with pytest.raises(PackageNotOnPlatform) as caught:
        resolve_all(["x"], indexes)
    assert "package 'x' exists on amd64 but not on arm64" in str(caught.value)
    with pytest.raises(PackageNotFound):
        resolve_all(["nowhere"], indexes)
