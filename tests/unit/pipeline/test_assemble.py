"""Entries of layers: the corners that the miniature image of test_build does not have."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.assemble import LayerFacts, entries_of, facts_of, source_files
from pipeline.cache import Cache
from pipeline.entries import Entry, Kind, Spool, directory
from pipeline.errors import ImageInvalid, SettingsInvalid
from pipeline.platforms import Platform
from pipeline.recipe import Recipe
from pipeline.settings import File, Suite, User
from tests.unit.pipeline.factories import Deb, deb, folder, regular, soft_link, wheel
from tests.unit.pipeline.sources.elf_factory import elf_file

EMPTY = Recipe(
    kind="application",
    image="production",
    platform=Platform.AMD64,
    suite=Suite("bookworm", "3.11", (2, 36)),
    epoch_s=0,
    key="",
    below=(),
)
APP = User("app", 1000, 1000, "/app")


class Assembler:
    """Lays out recipes from a cache and a repository of its own."""

    def __init__(self, where: Path) -> None:
        self.cache = Cache(where / "cache")
        self.root = where / "repository"
        self.root.mkdir()
        self.spool = Spool(where)

    def lay(self, *, below: tuple[LayerFacts, ...] = (), **parts: Any) -> dict[str, Entry]:
        recipe = replace(EMPTY, **parts)
        entries = entries_of(recipe, self.cache, self.spool, None, below, self.root)
        found = {entry.path: entry for entry in entries}
        assert len(found) == len(entries)
        return found

    def lay_packages(self, *packages: Deb, **options: Any) -> dict[str, Entry]:
        for package in packages:
            self.cache.store(package.data)
        locked = tuple(package.locked for package in packages)
        return self.lay(kind="base", packages=locked, **options)

    def write(self, path: str, text: str = "", mode: int = 0o644) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)


@pytest.fixture
def assembler(tmp_path: Path) -> Iterator[Assembler]:
    assembler = Assembler(tmp_path)
    yield assembler
    assembler.spool.close()


# Packages


def test_packages_may_share_a_file_that_is_the_same(assembler: Assembler) -> None:
    same = regular("usr/share/same", "same")
    found = assembler.lay_packages(deb("one", [same]), deb("two", [same]))
    assert found["usr/share/same"].read() == b"same"


@pytest.mark.parametrize(
    "other",
    [
        regular("usr/share/x", "two"),
        regular("usr/share/x", "longer"),
        soft_link("usr/share/x", "y"),
        folder("usr/share/x"),
    ],
    ids=["content", "size", "link", "folder"],
)
def test_packages_that_disagree_on_a_path_are_both_named(assembler: Assembler, other: Any) -> None:
    with pytest.raises(ImageInvalid, match=r"'usr/share/x' comes from one and, .* from two"):
        assembler.lay_packages(deb("one", [regular("usr/share/x", "one")]), deb("two", [other]))


def test_files_of_a_merged_usr_meet_in_one_place(assembler: Assembler) -> None:
    with pytest.raises(ImageInvalid, match="'usr/bin/tool'"):
        assembler.lay_packages(
            deb("one", [regular("bin/tool", "one")]), deb("two", [regular("usr/bin/tool", "two")])
        )


def test_modes_that_matter_are_not_left_to_packages(assembler: Assembler) -> None:
    found = assembler.lay_packages(
        deb("base-files", [folder("tmp", 0o755), folder("root", 0o755), folder("usr/games")])
    )
    assert (found["tmp"].mode, found["root"].mode) == (0o1777, 0o700)
    assert found["usr/games"].mode == 0o755


def test_a_package_s_own_merged_links_win(assembler: Assembler) -> None:
    found = assembler.lay_packages(deb("base-files", [soft_link("lib64", "usr/lib64")]))
    assert found["lib64"].origin == "base-files"
    assert found["lib"].origin == "merged /usr"


def test_only_the_lowest_layer_has_the_skeleton(assembler: Assembler) -> None:
    package = deb("tool", [regular("usr/bin/tool", "x", 0o755)])
    assembler.cache.store(package.data)
    recipe = replace(EMPTY, kind="packages", packages=(package.locked,), below=(EMPTY,))
    entries = entries_of(
        recipe, assembler.cache, assembler.spool, None, (facts_of([]),), assembler.root
    )
    assert not {"tmp", "bin", "root"} & {entry.path for entry in entries}


def test_links_of_the_description_win_over_packages(assembler: Assembler) -> None:
    package = deb("python", [soft_link("usr/bin/python3", "python3.9")])
    found = assembler.lay_packages(package, links=(("/usr/bin/python3", "python3.11"),))
    assert found["usr/bin/python3"].target == "python3.11"


def test_libraries_get_the_links_that_ldconfig_makes(assembler: Assembler) -> None:
    library = elf_file(soname="libz.so.1")
    found = assembler.lay_packages(
        deb("zlib1g", [regular("usr/lib/x86_64-linux-gnu/libz.so.1.2.13", library)])
    )
    link = found["usr/lib/x86_64-linux-gnu/libz.so.1"]
    assert (link.kind, link.target) == (Kind.SYMLINK, "libz.so.1.2.13")
    assert b"/lib/x86_64-linux-gnu/libz.so.1\0" in found["etc/ld.so.cache"].read()


# Files of the repository


def test_a_file_and_a_folder_go_where_the_description_says(assembler: Assembler) -> None:
    assembler.write("conf/a.ini", "a")
    assembler.write("conf/sub/b.sh", "b", 0o755)
    found = assembler.lay(
        files=(File("conf", "/etc/app"), File("conf/a.ini", "/srv/one.ini", mode=0o600))
    )
    files = {path: e.mode for path, e in found.items() if e.kind is Kind.FILE}
    assert files == {"etc/app/a.ini": 0o644, "etc/app/sub/b.sh": 0o755, "srv/one.ini": 0o600}
    assert {entry.uid for entry in found.values()} == {0}


def test_an_owned_folder_belongs_to_the_user_with_all_that_is_in_it(
    assembler: Assembler,
) -> None:
    assembler.write("data/deep/er/x", "x")
    found = assembler.lay(files=(File("data", "/srv/data", owned=True),), user=APP)
    owned = {path for path, entry in found.items() if (entry.uid, entry.gid) == (1000, 1000)}
    assert owned == {
        "srv/data", "srv/data/deep", "srv/data/deep/er", "srv/data/deep/er/x",
    }  # fmt: skip
    assert found["srv"].uid == 0


def test_an_owned_file_leaves_its_folder_to_root(assembler: Assembler) -> None:
    assembler.write("x", "x")
    found = assembler.lay(files=(File("x", "/srv/x", owned=True),), user=APP)
    assert (found["srv/x"].uid, found["srv"].uid) == (1000, 0)


def test_two_sources_for_one_path_are_named(assembler: Assembler) -> None:
    assembler.write("one", "1")
    assembler.write("two", "2")
    with pytest.raises(ImageInvalid, match="'etc/x' comes from one and, different, from two"):
        assembler.lay(files=(File("one", "/etc/x"), File("two", "/etc/x")))


@pytest.mark.parametrize("sources", ["nowhere", "empty"])
def test_a_source_that_has_nothing_is_refused(assembler: Assembler, sources: str) -> None:
    (assembler.root / "empty" / "__pycache__").mkdir(parents=True)
    (assembler.root / "empty" / "__pycache__" / "x.pyc").touch()
    with pytest.raises(SettingsInvalid, match=f"'{sources}'"):
        source_files(File(sources, "/x"), assembler.root)


def test_the_order_of_files_on_disk_does_not_matter(assembler: Assembler) -> None:
    for name in ("c", "a", "b/z", "b/a"):
        assembler.write(f"conf/{name}")
    found = source_files(File("conf", "/x"), assembler.root)
    assert [relative for relative, _, _ in found] == ["a", "b/a", "b/z", "c"]


def test_what_others_may_do_with_a_file_is_not_asked(assembler: Assembler) -> None:
    assembler.write("conf/x", "", 0o600)
    assembler.write("conf/y", "", 0o777)
    os.utime(assembler.root / "conf/x", (1, 1))
    found = source_files(File("conf", "/x"), assembler.root)
    assert [mode for _, _, mode in found] == [0o644, 0o755]


# Users, folders and links


def test_a_user_is_added_to_the_nearest_accounts_below(assembler: Assembler) -> None:
    lower = facts_of([Entry("etc/passwd", content=b"root\n"), Entry("etc/group", content=b"g\n")])
    upper = facts_of([Entry("etc/passwd", content=b"root\nother\n")])
    found = assembler.lay(user=APP, new_user=True, below=(lower, upper, facts_of([])))
    assert found["etc/passwd"].read() == b"root\nother\napp:x:1000:1000::/app:/usr/sbin/nologin\n"
    assert found["etc/group"].read() == b"g\napp:x:1000:\n"
    assert (found["app"].uid, found["app"].mode) == (1000, 0o755)


def test_without_accounts_below_there_is_the_user_alone(assembler: Assembler) -> None:
    found = assembler.lay(user=APP, new_user=True)
    assert found["etc/passwd"].read().count(b"\n") == 1


def test_folders_belong_to_the_user(assembler: Assembler) -> None:
    found = assembler.lay(user=APP, new_user=True, directories=("/app/data", "/app"))
    assert (found["app/data"].uid, found["app/data"].kind) == (1000, Kind.DIRECTORY)
    assert found["app"].uid == 1000


def test_links_are_made_without_packages_too(assembler: Assembler) -> None:
    found = assembler.lay(links=(("/srv/current", "v1"),))
    assert (found["srv/current"].kind, found["srv/current"].target) == (Kind.SYMLINK, "v1")


def test_wheels_that_disagree_are_both_named(assembler: Assembler) -> None:
    items = [wheel(name, {"same.py": name[0]}) for name in ("left", "right")]
    for item in items:
        assembler.cache.store(item.data)
    with pytest.raises(ImageInvalid, match=r"same\.py' comes from left-1\.0.* from right-1\.0"):
        assembler.lay(kind="dependencies", wheels=tuple(item.locked for item in items))


# Facts


def test_facts_are_the_accounts_and_what_the_linker_looks_at() -> None:
    facts = facts_of(
        [
            Entry("etc/passwd", content=b"root\n"),
            Entry("etc/shadow", content=b"secret\n"),
            directory("etc"),
            Entry("usr/lib/libx.so", content=elf_file(soname="libx.so.1")),
        ]
    )
    assert facts.accounts == {"etc/passwd": "root\n"}
    assert "usr/lib/libx.so" in str(facts.links.to_json())
