"""Whether every ELF file of an image would load there: the linker's rules, nothing executed.

The rules are ld.so(8)'s: DT_NEEDED breadth first, DT_RPATH of the loading chain
unless there is a DT_RUNPATH, the cache, the default directories; then symbol
versions, as the loader checks them before it starts a program.  What a program
opens later (dlopen) or is told by LD_LIBRARY_PATH cannot be known from files.

Two steps, so that unchanged layers cost nothing: `elf.scan(entries)` once a
layer (its `LinkFacts` go to JSON and back), then `check_closure` over the
layers of one image, the lowest first.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.platforms import Platform
from pipeline.sources.elf import ET_DYN, ET_EXEC, ElfFile, LinkFacts, LinkTree
from pipeline.sources.globs import matcher
from pipeline.sources.ldcache import cached_libraries, default_directories

_MACHINES: Final[Mapping[int, str]] = {
    3: "x86",
    8: "MIPS",
    20: "PowerPC",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86-64",
    183: "aarch64",
    243: "RISC-V",
    258: "LoongArch",
}
_MISSING_NAMED_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class ElfReport:
    """The verdict on one image."""

    problems: tuple[str, ...]
    """One line each, `path (origin): what is wrong`, sorted. Empty when everything loads."""
    elf_files: int
    """Executables and shared libraries that were looked at, ignored ones included."""
    newest_glibc: tuple[int, int] | None
    """The newest GLIBC version that any file of the platform requires."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """An object of one simulated process (glibc's link map)."""

    path: str
    origin: str
    """What $ORIGIN is: the directory under whose name the object was found."""
    loader: _Loaded | None


def check_closure(
    layers: Iterable[LinkFacts],
    platform: Platform,
    *,
    glibc: tuple[int, int] | None = None,
    ignore: frozenset[str] = frozenset(),
) -> ElfReport:
    """Check an image, given as the facts of its layers from the lowest to the highest.

    `glibc` is the newest GLIBC version allowed, on top of what the image's own
    libraries define.  Files whose path matches a glob of `ignore` (see `globs`)
    are not reported; others may still load them.
    """
    return _Check(LinkTree(layers), platform, glibc, ignore).run()


class _Check:
    def __init__(
        self,
        tree: LinkTree,
        platform: Platform,
        glibc: tuple[int, int] | None,
        ignore: frozenset[str],
    ) -> None:
        self._tree = tree
        self._platform = platform
        self._glibc = glibc
        self._is_ignored = matcher(sorted(ignore))
        self._problems: set[tuple[str, str]] = set()
        self._cache: dict[str, str] = {}
        for library in cached_libraries(tree, platform):
            if not library.hwcaps:
                self._cache.setdefault(library.soname, library.path)
        self._defaults = default_directories(platform)
        self._found: dict[str, str | None] = {}
        self._expanded: dict[tuple[str, str], tuple[str, ...]] = {}
        self._elsewhere: dict[str, str] | None = None
        # A version missing from a pair of files is missing in every process.
        self._versions_checked: set[tuple[str, str, str]] = set()

    def run(self) -> ElfReport:
        tree = self._tree
        for path, reason in tree.malformed.items():
            self._problem(path, f"is a malformed ELF file: {reason}")
        count = 0
        newest: tuple[int, int] | None = None
        dynamic: list[str] = []
        for path, elf in tree.files.items():
            if elf.type not in (ET_EXEC, ET_DYN):
                continue
            count += 1
            if not self._runs_here(elf):
                built = _machine_name(elf)
                self._problem(path, f"built for {built}, image is for {self._platform.kernel}")
                continue
            if _is_musl(elf):
                self._problem(path, "is built for musl, the image's C library is glibc")
                continue
            required = _newest_glibc(elf)
            if required and (newest is None or required > newest):
                newest = required
            if required and self._glibc and required > self._glibc:
                allowed = f"GLIBC_{_dotted(self._glibc)}"
                what = f"needs GLIBC_{_dotted(required)}, newer than the allowed {allowed}"
                self._problem(path, what)
            if elf.interpreter and not self._exists(elf.interpreter):
                what = f"its program interpreter {elf.interpreter} is not in the image"
                self._problem(path, what)
            if elf.has_dynamic:
                dynamic.append(path)
        self._load_all(dynamic)
        problems = tuple(f"{self._label(path)}: {what}" for path, what in sorted(self._problems))
        return ElfReport(problems, count, newest)

    def _load_all(self, paths: list[str]) -> None:
        """Start a process from every file that no other file asks for, then from the rest."""
        files = self._tree.files
        asked = {posixpath.basename(name) for path in paths for name in files[path].needed}
        roots = [
            path
            for path in paths
            if files[path].interpreter or not asked & {path.rpartition("/")[2], files[path].soname}
        ]
        reached: set[str] = set()
        for path in roots:
            reached |= self._load(path)
        for path in paths:
            if path not in reached:
                reached |= self._load(path)

    def _load(self, root: str) -> set[str]:
        """Load `root` and what it needs, breadth first, and return the paths that were loaded."""
        files = self._tree.files
        queue = [_Loaded(root, posixpath.dirname(root), None)]
        loaded = {root}
        by_name: dict[str, str] = {files[root].soname or root: root}
        for current in queue:
            elf = files[current.path]
            for name in elf.needed:
                wanted = self._expand(name, current.origin) if "$" in name else name
                if wanted in by_name:
                    continue
                found = self._find(wanted, current)
                if found is None:
                    self._problem(current.path, self._missing(wanted))
                    continue
                path = self._tree.resolve(found)
                assert path is not None
                by_name[wanted] = path
                if path in loaded:
                    continue
                loaded.add(path)
                by_name.setdefault(files[path].soname or wanted, path)
                # A library that is not for this image is reported once, for itself.
                if not _is_musl(files[path]):
                    queue.append(_Loaded(path, posixpath.dirname(found), current))
        for current in queue:
            self._check_versions(current.path, by_name)
        return loaded

    def _check_versions(self, path: str, by_name: Mapping[str, str]) -> None:
        missing: dict[str, list[str]] = {}
        for name, version in self._tree.files[path].required_versions:
            provider = by_name.get(name)
            if provider is None or (path, name, provider) in self._versions_checked:
                continue
            provided = self._tree.files[provider].provided_versions
            # The loader only warns when a library has no versions at all.
            if provided and version not in provided and not version.endswith("_PRIVATE"):
                missing.setdefault(name, []).append(version)
        for name, versions in missing.items():
            provider = by_name[name]
            named = ", ".join(sorted(versions, key=_version_key)[-_MISSING_NAMED_MAX:])
            provided = self._tree.files[provider].provided_versions
            prefix = versions[-1].rpartition("_")[0] + "_"
            same = [version for version in provided if version.startswith(prefix)]
            newest = max(same, key=_version_key, default="")
            has = f"has {newest} at most" if newest else f"has no {prefix}* version"
            self._problem(path, f"needs {named} of {name}, the image's {provider} {has}")
        for name, _ in self._tree.files[path].required_versions:
            if name in by_name:
                self._versions_checked.add((path, name, by_name[name]))

    def _find(self, name: str, current: _Loaded) -> str | None:
        """Return the path at which the loader would find `name`, or None."""
        if "/" in name:
            return self._library(name) if name.startswith("/") else None
        files = self._tree.files
        runpath = files[current.path].runpath
        if not runpath:
            above: _Loaded | None = current
            while above is not None:
                rpath = () if files[above.path].runpath else files[above.path].rpath
                if found := self._find_in(rpath, above, name):
                    return found
                above = above.loader
        elif found := self._find_in(runpath, current, name):
            return found
        if name not in self._found:
            candidates = [f"{directory}/{name}" for directory in self._defaults]
            if name in self._cache:
                candidates.insert(0, self._cache[name])
            self._found[name] = next(filter(None, map(self._library, candidates)), None)
        return self._found[name]

    def _find_in(self, search: tuple[str, ...], owner: _Loaded, name: str) -> str | None:
        for element in search:
            directory = self._expand(element, owner.origin)
            # A relative directory would depend on where the process was started.
            if directory.startswith("/") and (found := self._library(f"{directory}/{name}")):
                return found
        return None

    def _expand(self, text: str, origin: str) -> str:
        """Replace the dynamic string tokens of ld.so(8)."""
        values = {
            "ORIGIN": f"/{origin}",
            "LIB": f"lib/{self._platform.gnu_triplet}",
            "PLATFORM": self._platform.kernel,
        }
        return re.sub(
            r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))",
            lambda match: values[match[1] or match[2]],
            text,
        )

    def _library(self, path: str) -> str | None:
        """Return `path` when the loader would accept the file there."""
        real = self._tree.resolve(path)
        elf = self._tree.files.get(real) if real else None
        if elf is None or elf.type != ET_DYN or not elf.has_dynamic or not self._runs_here(elf):
            return None
        return path

    def _exists(self, path: str) -> bool:
        return self._tree.resolve(path) in self._tree.files

    def _runs_here(self, elf: ElfFile) -> bool:
        return elf.machine == self._platform.elf_machine and elf.is_64bit and elf.is_little_endian

    def _missing(self, name: str) -> str:
        if self._elsewhere is None:
            self._elsewhere = {}
            for path, elf in self._tree.files.items():
                for known in (path.rpartition("/")[2], elf.soname):
                    self._elsewhere.setdefault(known, path)
        other = self._elsewhere.get(posixpath.basename(name))
        if other is None:
            return f"needs {name}, which is not in the image"
        return f"needs {name}, which is not on its search path (but at {other})"

    def _problem(self, path: str, what: str) -> None:
        if not self._is_ignored(path):
            self._problems.add((path, what))

    def _label(self, path: str) -> str:
        origin = self._tree.origins.get(path)
        return f"{path} ({origin})" if origin else path


def _machine_name(elf: ElfFile) -> str:
    name = _MACHINES.get(elf.machine, f"machine {elf.machine}")
    if elf.machine in (62, 183) and not elf.is_64bit:
        return f"{name} with 32-bit pointers"
    return name if elf.is_little_endian else f"{name} (big-endian)"


def _is_musl(elf: ElfFile) -> bool:
    return posixpath.basename(elf.interpreter).startswith("ld-musl-") or any(
        name.startswith(("libc.musl-", "ld-musl-")) for name in elf.needed
    )


def _newest_glibc(elf: ElfFile) -> tuple[int, int] | None:
    found = [
        (int(match[1]), int(match[2]))
        for _, version in elf.required_versions
        if (match := re.match(r"GLIBC_(\d+)\.(\d+)", version))
    ]
    return max(found, default=None)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _version_key(version: str) -> tuple[tuple[int, ...], str]:
    return tuple(map(int, re.findall(r"\d+", version))), version
