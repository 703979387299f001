"""A lock is what was written, made from what is described, or it is refused."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import LockMissing, LockStale, LockTampered
from pipeline.lock import (
    Contents,
    Lock,
    LockedPackage,
    LockedSuite,
    changes,
    check_current,
    description_inputs,
    format_lock,
    parse_lock,
    read_lock,
    write_lock,
)
from pipeline.platforms import Platform
from pipeline.settings import LOCK, Settings, read_settings
from pipeline.sources.requirements import LockedWheel

REPOSITORY = Path(__file__).parents[3]
REAL = (REPOSITORY / LOCK).read_bytes()

Path_ = Sequence[str | int]


def package(name: str, platform: Platform) -> LockedPackage:
    return LockedPackage(
        name=name,
        version="1:2.0-1+b1",
        architecture=platform.debian,
        archive="debian bookworm",
        path=f"pool/main/x/{name}_2.0_{platform.debian}.deb",
        sha256=f"{len(name):064x}",
        size_bytes=1234,
    )


def contents(platform: Platform) -> Contents:
    wheel = LockedWheel("bottle", "0.13", f"bottle-0.13-{platform.kernel}.whl", "a" * 64, 5)
    return Contents((package("zlib1g", platform), package("libc6", platform)), (wheel,))


def made() -> Lock:
    return Lock(
        inputs={"platforms": "0" * 64, "images.base": "1" * 64, "requirements/dev.in": "2" * 64},
        suites={
            "bookworm": LockedSuite(
                epoch_s=1_700_000_000,
                snapshot="20231114T221320Z",
                archives={"debian bookworm": "3" * 64},
                interpreter={p: (package("python3-minimal", p),) for p in Platform},
                images={p: {"base": contents(p), "empty": Contents()} for p in Platform},
                docker={p: (package("python3-pip", p),) for p in Platform},
            )
        },
        build_requirements=("flit-core==3 --hash=sha256:00",),
    )


def parse(data: bytes) -> Lock:
    return parse_lock(data, LOCK)


# What is written is read.


def test_a_lock_that_is_written_is_read_back(tmp_path: Path) -> None:
    write_lock(tmp_path / "images.lock", made())
    lock = read_lock(tmp_path / "images.lock", LOCK)
    assert lock == made()
    assert lock.digest.startswith("sha256:")


def test_the_lock_of_this_repository_is_read_and_written_the_same() -> None:
    assert format_lock(parse(REAL)) == REAL


def test_the_lock_of_this_repository_names_no_host() -> None:
    assert b"://" not in REAL
    for suite in parse(REAL).suites.values():
        for images in suite.images.values():
            for part in images.values():
                assert all(package.path.startswith("pool/") for package in part.packages)


def test_a_change_of_one_package_is_a_change_of_one_line() -> None:
    before = made()
    suite = before.suites["bookworm"]
    old = suite.images[Platform.ARM64]["base"]
    newer = dataclasses.replace(old.packages[0], version="1:2.0-2")
    images = {
        **suite.images,
        Platform.ARM64: {
            "base": dataclasses.replace(old, packages=(newer, old.packages[1])),
            "empty": Contents(),
        },
    }
    after = dataclasses.replace(
        before, suites={"bookworm": dataclasses.replace(suite, images=images)}
    )
    one, other = format_lock(before).splitlines(), format_lock(after).splitlines()
    different = [b for a, b in zip(one, other, strict=True) if a != b]
    assert len(different) == 2
    assert b'"zlib1g": {"version": "1:2.0-2"' in different[0]
    assert b'"digest": "sha256:' in different[1]


def test_what_was_locked_can_be_asked_for() -> None:
    lock = made()
    assert lock.contents("bookworm", Platform.ARM64, "base") == contents(Platform.ARM64)
    with pytest.raises(LockStale, match="does not hold the suite 'trixie'; run 'invoke lock'"):
        lock.suite("trixie")
    with pytest.raises(LockStale, match="does not hold 'production' for linux/arm64"):
        lock.contents("bookworm", Platform.ARM64, "production")


# Tampering.


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Yield the place of every value that is no table or list, and of every empty one."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    elif isinstance(value, list) and value:
        for index, part in enumerate(value):
            yield from leaves(part, (*path, index))
    else:
        yield path


def at(document: Any, path: Path_) -> Any:
    for key in path:
        document = document[key]
    return document


DOCUMENT: dict[str, Any] = json.loads(REAL)
LEAVES = list(leaves(DOCUMENT))
# Of every kind of field one: the same place but for names of packages and numbers.
KINDS = list(
    {
        (len(path), path[0], path[-1] if isinstance(path[-1], str) else "item"): path
        for path in LEAVES
    }.values()
)


def other(value: Any) -> Any:
    """Return another value of the same type."""
    match value:
        case int():
            return value + 1
        case str():
            return value[:-1] + ("0" if value[-1:] != "0" else "1")
        case list():
            return ["x"]
        case _:
            return {"x": "y"}


def test_the_real_lock_has_fields_to_tamper_with() -> None:
    assert len(LEAVES) > 3000
    assert {path[-1] for path in KINDS} >= {
        "digest",
        "epoch",
        "snapshot",
        "sha256",
        "size_bytes",
        "path",
        "version",
        "architecture",
        "archive",
    }


@pytest.mark.parametrize("path", KINDS, ids=lambda path: ".".join(map(str, path)))
def test_a_changed_field_of_any_kind_is_noticed(path: Path_) -> None:
    document = copy.deepcopy(DOCUMENT)
    at(document, path[:-1])[path[-1]] = other(at(document, path))
    with pytest.raises(LockTampered):
        parse(json.dumps(document).encode())


def test_a_change_anywhere_in_the_real_lock_is_noticed() -> None:
    document = copy.deepcopy(DOCUMENT)
    unnoticed = []
    for path in LEAVES[:: len(LEAVES) // 150]:
        table, key = at(document, path[:-1]), path[-1]
        before, table[key] = table[key], other(table[key])
        try:
            parse(json.dumps(document).encode())
            unnoticed.append(path)
        except LockTampered:
            pass
        table[key] = before
    assert unnoticed == []
    assert parse(json.dumps(document).encode())


@pytest.mark.parametrize("path", KINDS, ids=lambda path: ".".join(map(str, path)))
def test_a_removed_field_of_any_kind_is_noticed(path: Path_) -> None:
    document = copy.deepcopy(DOCUMENT)
    del at(document, path[:-1])[path[-1]]
    with pytest.raises(LockTampered):
        parse(json.dumps(document).encode())


def test_an_added_field_is_noticed() -> None:
    with pytest.raises(LockTampered, match="was changed after it was written"):
        parse(json.dumps({**DOCUMENT, "host": "example.org"}).encode())


def test_a_changed_lock_is_refused_with_the_way_out() -> None:
    with pytest.raises(LockTampered) as caught:
        parse(REAL.replace(b'"epoch": ', b'"epoch": 1', 1))
    assert str(caught.value) == (
        "deployment/images.lock was changed after it was written: its content does not have the "
        "digest that it names; restore it from version control, or run 'invoke lock' and review "
        "the change"
    )


def test_white_space_alone_is_no_change() -> None:
    assert parse(json.dumps(DOCUMENT, indent=8).encode()) == parse(REAL)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b"\xff", b'{"digest": 1}', b"<<<<<<< HEAD\n", REAL[:-100]],
)
def test_what_is_no_lock_is_one_line(data: bytes) -> None:
    with pytest.raises(LockTampered, match=r"^deployment/images.lock is not a lock \(") as caught:
        parse(data)
    assert caught.value.hint == "run 'invoke lock'"
    assert "\n" not in str(caught.value)


def test_a_lock_of_another_schema_is_named() -> None:
    with pytest.raises(LockTampered, match="has schema 2, this version reads 1; run"):
        parse(json.dumps({**DOCUMENT, "schema": 2}).encode())


def test_a_digest_that_is_none_is_refused_even_when_it_is_signed() -> None:
    lock = made()
    suite = lock.suites["bookworm"]
    wrong = dataclasses.replace(package("zlib1g", Platform.AMD64), sha256="../../etc/passwd")
    images = {Platform.AMD64: {"base": Contents((wrong,))}}
    signed = dataclasses.replace(
        lock, suites={"bookworm": dataclasses.replace(suite, images=images)}
    )
    with pytest.raises(LockTampered, match=r"'../../etc/passwd' is not a SHA-256"):
        parse(format_lock(signed))


def test_a_missing_lock_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LockMissing, match=r"^deployment/images.lock does not exist; run 'invoke"):
        read_lock(tmp_path / "none", LOCK)


def test_a_lock_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        LockMissing, match=r"^deployment/images.lock cannot be read: is a directory"
    ):
        read_lock(tmp_path, LOCK)


# Whether it is current.


@pytest.fixture
def settings() -> Settings:
    return read_settings(REPOSITORY)


def test_an_unchanged_description_is_current(settings: Settings) -> None:
    inputs = description_inputs(settings, ["flit"])
    lock = dataclasses.replace(made(), inputs={**inputs, "requirements/dev.in": "0"})
    check_current(lock, inputs, LOCK)
    assert changes(lock, inputs) == {"requirements/dev.in"}


def changed_image(settings: Settings, **values: Any) -> Settings:
    image = dataclasses.replace(settings.images["base"], **values)
    return dataclasses.replace(settings, images={**settings.images, "base": image})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"packages": ("python3",)}, "images.base"),
        ({"omit": ()}, "images.base"),
        ({"requirements": "requirements/test.txt"}, "images.base, requirements/test.txt"),
    ],
)
def test_a_changed_image_is_named(settings: Settings, values: Any, expected: str) -> None:
    lock = dataclasses.replace(made(), inputs=description_inputs(settings, ()))
    inputs = description_inputs(changed_image(settings, **values), ())
    with pytest.raises(LockStale) as caught:
        check_current(lock, inputs, LOCK)
    assert str(caught.value) == (
        f"deployment/images.lock does not match the description: {expected} changed; "
        "run 'invoke lock'"
    )


@pytest.mark.parametrize("values", [{"environment": {}}, {"exclude": ()}, {"command": ("x",)}])
def test_what_the_lock_does_not_hold_does_not_make_it_stale(
    settings: Settings, values: Any
) -> None:
    before = description_inputs(settings, ())
    assert description_inputs(changed_image(settings, **values), ()) == before


def test_changed_suites_platforms_and_build_requirements_are_named(settings: Settings) -> None:
    lock = dataclasses.replace(made(), inputs=description_inputs(settings, ["flit"]))
    suite = dataclasses.replace(settings.suites["bookworm"], glibc=(2, 37))
    changed = dataclasses.replace(
        settings, platforms=(Platform.ARM64,), suites={**settings.suites, "bookworm": suite}
    )
    with pytest.raises(
        LockStale,
        match=r": platforms, pyproject.toml build-system.requires, suites.bookworm changed;",
    ):
        check_current(lock, description_inputs(changed, ["hatchling"]), LOCK)


def test_an_image_that_was_added_or_removed_is_named(settings: Settings) -> None:
    lock = dataclasses.replace(made(), inputs=description_inputs(settings, ()))
    images = dict(settings.images)
    images["extra"] = dataclasses.replace(images["base"], name="extra")
    del images["development"]
    inputs = description_inputs(dataclasses.replace(settings, images=images), ())
    with pytest.raises(LockStale, match=r"images.development, images.extra, requirements/devel"):
        check_current(lock, inputs, LOCK)


def test_a_changed_requirements_file_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    for name in {i.requirements for i in settings.images.values() if i.requirements}:
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    lock = dataclasses.replace(made(), inputs=description_inputs(settings, ()))
    moved = dataclasses.replace(settings, root=tmp_path)
    check_current(lock, description_inputs(moved, ()), LOCK)
    with (tmp_path / "requirements/production.txt").open("ab") as file:
        file.write(b"\n")
    with pytest.raises(LockStale, match=r"description: requirements/production.txt changed"):
        check_current(lock, description_inputs(moved, ()), LOCK)
    (tmp_path / "requirements/production.txt").unlink()
    with pytest.raises(LockStale, match=r"requirements/production.txt, which .* does not exist"):
        description_inputs(moved, ())
