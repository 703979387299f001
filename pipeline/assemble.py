"""A recipe turned into the entries of its layer: what a container will find on disk."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.cache import Cache
from pipeline.entries import Entry, Kind, Spool, directory, merge, symlink
from pipeline.errors import ImageInvalid, SettingsInvalid
from pipeline.oci.layer import arrange
from pipeline.platforms import Platform
from pipeline.recipe import Recipe
from pipeline.settings import File
from pipeline.sources import elf, ldcache, wheels
from pipeline.sources.bytecode import Interpreter, bytecode_entries
from pipeline.sources.debian import package, postinst
from pipeline.sources.globs import matcher

_ACCOUNTS = ("etc/passwd", "etc/group")
_IGNORED = {"__pycache__", ".DS_Store", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
# Standing folders of a root file system that no package ships.
_FOLDERS: Mapping[str, int] = {
    "boot": 0o755,
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "proc": 0o755,
    "root": 0o700,
    "run": 0o755,
    "sys": 0o755,
    "tmp": 0o1777,
    "usr": 0o755,
    "usr/bin": 0o755,
    "usr/lib": 0o755,
    "usr/sbin": 0o755,
    "var": 0o755,
    "var/tmp": 0o1777,
}


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """What layers above, and checks of the whole image, need to know of a layer."""

    links: elf.LinkFacts
    accounts: Mapping[str, str]
    """The text of /etc/passwd and /etc/group, where the layer has them."""


def entries_of(
    recipe: Recipe,
    cache: Cache,
    spool: Spool,
    interpreter: Interpreter | None,
    below: Sequence[LayerFacts],
    root: Path,
) -> list[Entry]:
    """Return the entries of the layer that `recipe` describes.

    Blobs are taken from `cache`, which has them; `below` are the facts of the layers
    underneath, `root` the repository.  Raises `ImageInvalid` where two sources disagree
    on a path, and what the sources raise.
    """
    try:
        if recipe.packages:
            tree = _package_tree(recipe, cache, spool)
        else:
            listed = list(_other_entries(recipe, cache, spool, below, root))
            spool.flush()  # To compare contents, they have to be readable.
            tree = merge(listed)
        if recipe.bytecode and interpreter is not None:
            compiled = bytecode_entries(
                tree.values(), python=recipe.suite.python, interpreter=interpreter
            )
            tree = merge([*tree.values(), *compiled])
        if recipe.packages:
            tree = {**tree, **_linker_entries(tree, recipe.platform, below)}
        # Exclusions may have taken what a hard link points at.
        return arrange(tree.values())
    except ValueError as error:
        raise ImageInvalid(
            f"the {recipe.kind} layer of '{recipe.image}' for {recipe.platform} "
            f"cannot be laid out: {error}",
            hint="leave one of two packages' files out with 'exclude' in images.toml, or require "
            "versions of wheels that do not share the path",
        ) from error


def facts_of(entries: Iterable[Entry]) -> LayerFacts:
    """Return the facts of a layer's entries."""
    listed = list(entries)
    accounts = {entry.path: entry.read().decode() for entry in listed if entry.path in _ACCOUNTS}
    return LayerFacts(elf.scan(listed), accounts)


def _package_tree(recipe: Recipe, cache: Cache, spool: Spool) -> dict[str, Entry]:
    exclude = matcher(recipe.exclude)
    entries: list[Entry] = []
    scripted = []
    for locked in recipe.packages:
        unpacked = package.unpack(cache.blob_path(locked.sha256), spool, exclude=exclude)
        entries.extend(unpacked.entries)
        if unpacked.postinst:
            scripted.append(unpacked.name)
    spool.flush()
    tree = merge(entries)
    tree.update({entry.path: entry for entry in postinst.effects(scripted, tree)})
    if not recipe.below:
        for entry in _skeleton(recipe.platform):
            # A package's own folder wins, but for the modes that matter.
            if entry.path not in tree or entry.kind is Kind.DIRECTORY:
                tree[entry.path] = entry
    for path, target in recipe.links:
        tree[path.lstrip("/")] = symlink(path.lstrip("/"), target, origin="images.toml")
    return tree


def _skeleton(platform: Platform) -> Iterator[Entry]:
    merged = ["bin", "lib", "sbin"]
    if platform.dynamic_linker.startswith("/lib64/"):
        merged.append("lib64")
    for name in merged:
        yield symlink(name, f"usr/{name}", origin="merged /usr")
        yield directory(f"usr/{name}", origin="merged /usr")
    for path, mode in _FOLDERS.items():
        yield directory(path, mode, origin="root file system")


def _linker_entries(
    tree: Mapping[str, Entry], platform: Platform, below: Sequence[LayerFacts]
) -> dict[str, Entry]:
    """Return what ldconfig(8) would write for the tree on top of the layers below."""
    facts = [layer.links for layer in below]
    links = ldcache.soname_links(elf.LinkTree([*facts, elf.scan(tree.values())]), platform)
    complete = [*tree.values(), *links]
    libraries = ldcache.cached_libraries(elf.LinkTree([*facts, elf.scan(complete)]), platform)
    cache = Entry(
        "etc/ld.so.cache",
        content=ldcache.write_cache(libraries, platform),
        origin="ldconfig",
    )
    return {entry.path: entry for entry in (*links, cache)}


def _other_entries(
    recipe: Recipe, cache: Cache, spool: Spool, below: Sequence[LayerFacts], root: Path
) -> Iterator[Entry]:
    site_packages = recipe.suite.site_packages
    for wheel in recipe.wheels:
        yield from wheels.unpack(
            cache.blob_path(wheel.sha256),
            wheel.filename,
            spool,
            site_packages=site_packages,
            interpreter=recipe.suite.interpreter,
        )
    if recipe.project is not None:
        yield from wheels.unpack(
            cache.blob_path(recipe.project.sha256),
            recipe.project.filename,
            spool,
            site_packages=site_packages,
            interpreter=recipe.suite.interpreter,
            direct=True,
        )
    user = recipe.user
    for file in recipe.files:
        uid, gid = (user.uid, user.gid) if file.owned else (0, 0)
        place = file.path.lstrip("/")
        for relative, path, mode in source_files(file, root):
            if relative and file.owned:
                # The folder belongs to the user with those in it.
                for parent in PurePosixPath(relative).parents:
                    folder = posixpath.normpath(posixpath.join(place, parent))
                    yield directory(folder, uid=uid, gid=gid, origin=file.source)
            yield Entry(
                posixpath.join(place, relative) if relative else place,
                mode=mode,
                content=path.read_bytes(),
                uid=uid,
                gid=gid,
                origin=file.source,
            )
    if recipe.new_user:
        home = user.home.lstrip("/")
        yield directory(home, 0o755, uid=user.uid, gid=user.gid, origin="user")
        yield from _accounts(recipe, below)
    for folder in recipe.directories:
        if folder != user.home or not recipe.new_user:
            yield directory(folder.lstrip("/"), uid=user.uid, gid=user.gid, origin="images.toml")
    for link, target in recipe.links:
        yield symlink(link.lstrip("/"), target, origin="images.toml")


def _accounts(recipe: Recipe, below: Sequence[LayerFacts]) -> Iterator[Entry]:
    """Yield /etc/passwd and /etc/group of the layers below with the user added."""
    user = recipe.user
    lines = {
        "etc/passwd": f"{user.name}:x:{user.uid}:{user.gid}::{user.home}:/usr/sbin/nologin\n",
        "etc/group": f"{user.name}:x:{user.gid}:\n",
    }
    for path, line in lines.items():
        text = ""
        for layer in below:
            text = layer.accounts.get(path, text)
        # A base image may have an account of that name; the description's is what counts.
        kept = [old for old in text.splitlines(True) if not old.startswith(f"{user.name}:")]
        text = "".join(kept)
        yield Entry(path, content=(text + line).encode(), origin="user")


def source_files(file: File, root: Path) -> list[tuple[str, Path, int]]:
    """Return (path below `file.path`, path here, mode) of a file or of all in a folder.

    Raises `SettingsInvalid` when there is nothing.
    """
    source = root / file.source
    if source.exists() and not source.resolve().is_relative_to(root.resolve()):
        raise SettingsInvalid(
            f"images.toml puts '{file.source}' into an image; it lies outside of the repository",
            hint="copy it into the repository",
        )
    if source.is_file():
        return [("", source, _mode(source, file.mode))]
    found = [
        (path.relative_to(source).as_posix(), path, _mode(path, file.mode))
        for path in source.rglob("*")
        if path.is_file() and _IGNORED.isdisjoint(path.relative_to(source).parts)
    ]
    if not found:
        raise SettingsInvalid(
            f"images.toml puts '{file.source}' into an image, and there is nothing at that path",
            hint="correct 'source', or leave it out",
        )
    return sorted(found)


def _mode(path: Path, wanted: int | None) -> int:
    if wanted is not None:
        return wanted
    return 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644
