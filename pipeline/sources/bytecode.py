"""Bytecode for every module of an image, compiled here, never by a container.

A non-root user cannot write it and a read-only root cannot hold it, so without this
every start of a container compiles the standard library.  Files are `unchecked-hash`
(PEP 552): no time in them, and no check when they are loaded.

The compiler is the suite's own CPython, for this machine, from the same locked
packages: the same bytes come out whichever Python runs the pipeline.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.atomic import file_sha256, writing
from pipeline.cache import Cache
from pipeline.entries import Entry, Kind, Spool
from pipeline.errors import ToolMissing
from pipeline.platforms import Platform
from pipeline.sources.debian.package import merged_usr, unpack
from pipeline.sources.globs import matcher

# Reads (path, source) frames, writes one (bytecode) frame each; empty where the source
# does not compile, as with templates and files for Python 2.
_COMPILER = """
import importlib.util, marshal, struct, sys, warnings
warnings.simplefilter("ignore")
read, write = sys.stdin.buffer.read, sys.stdout.buffer.write
while header := read(8):
    path_size, source_size = struct.unpack("<II", header)
    path, source = read(path_size).decode(), read(source_size)
    try:
        code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        write(struct.pack("<I", 0))
        continue
    data = importlib.util.MAGIC_NUMBER + struct.pack("<I", 1)
    data += importlib.util.source_hash(source) + marshal.dumps(code)
    write(struct.pack("<I", len(data)) + data)
"""
# No site, no user folder, no working directory, a fixed seed and an environment of just
# this: nothing of this machine gets in (-I would ignore the seed).  -B: the unpacked
# interpreter stays as it was verified.
_ISOLATED = ("-B", "-P", "-s", "-S")
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
_PROBE = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
_EXCLUDED = matcher(
    ("usr/lib/*/gconv/**", "usr/share/**", "etc/**", "var/**", "usr/lib/*/audit/**")
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A CPython that can compile for an image."""

    argv: tuple[str, ...]
    origin: str
    """Where it comes from, for reports."""


def bytecode_entries(
    entries: Iterable[Entry], *, python: str, interpreter: Interpreter
) -> list[Entry]:
    """Return a `__pycache__` entry for each module among `entries` that compiles.

    `python` is the minor version (`3.11`); paths in tracebacks are those of the image.
    """
    modules = _modules(entries)
    if not modules:
        return []
    compiled = _compile(modules, interpreter)
    tag = f"cpython-{python.replace('.', '')}"
    return [
        Entry(_cached_path(module.path, tag), content=data, origin=module.origin)
        for module, data in zip(modules, compiled, strict=True)
        if data is not None
    ]


def _modules(entries: Iterable[Entry]) -> list[Entry]:
    """Return the modules in order, with links to another module: Python looks beside the link.

    A link that leads elsewhere, as Debian's sitecustomize.py does to /etc, is left to
    whoever runs the image, who may replace what it leads to.
    """
    tree = {entry.path: entry for entry in entries if is_module(entry.path)}
    found = []
    for path, entry in sorted(tree.items()):
        module: Entry | None = entry
        if entry.kind is Kind.SYMLINK:
            target = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), entry.target))
            module = tree.get(target.lstrip("/"))
        if module is not None and module.kind is Kind.FILE:
            found.append(replace(module, path=path))
    return found


_MODULE = re.compile(r"(?:usr/lib|usr/local/lib)/python3(?:\.\d+)?/.*\.py")


def is_module(path: str) -> bool:
    """Return whether Python would import the file at `path` from its library folders."""
    return _MODULE.fullmatch(path) is not None


def _cached_path(path: str, tag: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc"


def _compile(modules: Sequence[Entry], interpreter: Interpreter) -> list[bytes | None]:
    """Compile in one process, in order; contents come back as bytes or None."""
    with tempfile.TemporaryFile() as questions:
        for module in modules:
            source = module.read()
            path = f"/{module.path}".encode()
            questions.write(struct.pack("<II", len(path), len(source)) + path + source)
        questions.seek(0)
        done = subprocess.run(
            (*interpreter.argv, *_ISOLATED, "-c", _COMPILER),
            stdin=questions,
            capture_output=True,
            env=_ENVIRONMENT,
            check=False,
        )
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ToolMissing(
            f"the bytecode compiler ({interpreter.origin}) failed: {''.join(last)}",
            hint="run 'invoke doctor'",
        )
    answers, start = [], 0
    for _ in modules:
        (size,) = struct.unpack_from("<I", done.stdout, start)
        answers.append(done.stdout[start + 4 : start + 4 + size] or None)
        start += 4 + size
    return answers


def find_interpreter(
    python: str, *, locked: Mapping[str, str], cache: Cache, host: Platform | None
) -> Interpreter:
    """Return a CPython of the minor version `python` that runs on this machine.

    `locked` maps the suite's interpreter packages for `host` to the SHA-256 of their
    blobs in the cache; empty when the lock has none for this machine.  Where they cannot
    run (another system, a cache that may not hold programs), a CPython of the same minor
    version is looked for: the one that runs this, then the ones on PATH.
    Raises `ToolMissing`.
    """
    if host is not None and locked and sys.platform == "linux":
        unpacked = _unpack_interpreter(python, locked, cache, host)
        if _runs(unpacked.argv, python):
            return unpacked
    candidates = [sys.executable, shutil.which(f"python{python}") or ""]
    for program in filter(None, candidates):
        if _runs((program,), python):
            return Interpreter((program,), program)
    raise ToolMissing(
        f"bytecode for Python {python} needs a CPython {python}, and this machine has none",
        hint=f"install python{python}, or set 'bytecode = false' for the image",
    )


def _runs(argv: tuple[str, ...], python: str) -> bool:
    try:
        done = subprocess.run(
            (*argv, *_ISOLATED, "-c", _PROBE),
            capture_output=True,
            text=True,
            env=_ENVIRONMENT,
            check=False,
        )
    except OSError:
        return False
    return done.stdout.split() == ["cpython", python]


def _unpack_interpreter(
    python: str, locked: Mapping[str, str], cache: Cache, host: Platform
) -> Interpreter:
    key = "-".join([python, host.debian, *sorted(sha[:8] for sha in locked.values())])
    folder = cache.folder / "interpreters" / key
    with cache.alone("interpreter"):
        if not _intact(folder):
            shutil.rmtree(folder, ignore_errors=True)
            _write_interpreter(folder, locked, cache)
    libraries = f"{folder}/usr/lib/{host.gnu_triplet}"
    linker = folder / "usr" / host.dynamic_linker.lstrip("/")
    program = folder / "usr" / "bin" / f"python{python}"
    return Interpreter(
        (str(linker), "--library-path", libraries, str(program)),
        f"the suite's own python{python}",
    )


def _write_interpreter(folder: Path, locked: Mapping[str, str], cache: Cache) -> None:
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".new.", dir=folder.parent))
        try:
            links: list[tuple[Path, str]] = []
            with Spool(cache.temporary_folder()) as spool:
                for sha256 in sorted(locked.values()):
                    package = unpack(cache.blob_path(sha256), spool, exclude=_EXCLUDED)
                    spool.flush()
                    for entry in package.entries:
                        path = work / entry.path
                        path.parent.mkdir(parents=True, exist_ok=True)
                        if entry.kind is Kind.FILE:
                            path.write_bytes(entry.read())
                            path.chmod(entry.mode | 0o600)
                        elif entry.kind is Kind.SYMLINK:
                            links.append((path, _within(entry)))
            for path, target in links:
                path.unlink(missing_ok=True)
                path.symlink_to(target)
            listing = "\n".join(_listing(work))
            (work / "sha256sums").write_text(listing, encoding="utf-8")
            work.chmod(0o755)
            os.replace(work, folder)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def _within(link: Entry) -> str:
    """Return an absolute link's text as one that stays inside the unpacked folder."""
    if not link.target.startswith("/"):
        return link.target
    target = merged_usr(link.target.lstrip("/"))
    return posixpath.relpath(target, posixpath.dirname(link.path))


def _listing(folder: Path) -> list[str]:
    """Return a line for every file and link below `folder`: what it holds, and its path."""
    lines = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            lines.append(f"-> {os.readlink(path)}  {name}")
        elif path.is_file() and name != "sha256sums":
            lines.append(f"{file_sha256(path)}  {name}")
    return lines


def _intact(folder: Path) -> bool:
    try:
        listed = (folder / "sha256sums").read_text(encoding="utf-8").splitlines()
        return listed == _listing(folder)
    except OSError:
        return False
