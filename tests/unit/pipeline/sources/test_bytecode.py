"""Bytecode: loadable, the same everywhere, and made by something that runs here."""

from __future__ import annotations

import importlib.util
import marshal
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cache import Cache
from pipeline.entries import Entry, symlink
from pipeline.errors import ToolMissing
from pipeline.platforms import Platform
from pipeline.sources.bytecode import Interpreter, bytecode_entries, find_interpreter, is_module
from tests.unit.pipeline.factories import PYTHON, deb, regular, soft_link

THIS = Interpreter((sys.executable,), "this python")
LIBRARY = f"usr/lib/python{PYTHON}"
TAG = f"cpython-{PYTHON.replace('.', '')}"


def compiled(*modules: Entry, interpreter: Interpreter = THIS) -> dict[str, Entry]:
    found = bytecode_entries(modules, python=PYTHON, interpreter=interpreter)
    return {entry.path: entry for entry in found}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("usr/lib/python3.11/os.py", True),
        ("usr/lib/python3/dist-packages/apt.py", True),
        ("usr/local/lib/python3.11/dist-packages/a/b.py", True),
        ("usr/bin/tool.py", False),
        ("usr/lib/python2.7/os.py", False),
        ("usr/lib/python3.11/os.pyc", False),
        ("usr/lib/gcc/python/libstdcxx/v6/printers.py", False),
        ("opt/usr/lib/python3.11/os.py", False),
    ],
)
def test_modules_are_what_python_would_import(path: str, expected: bool) -> None:
    assert is_module(path) is expected


def test_bytecode_loads_without_a_look_at_its_source() -> None:
    source = b"import sys\nVALUE = 41 + 1\n"
    found = compiled(Entry(f"{LIBRARY}/pkg/mod.py", content=source, origin="pkg"))
    entry = found[f"{LIBRARY}/pkg/__pycache__/mod.{TAG}.pyc"]
    data = entry.read()
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert int.from_bytes(data[4:8], "little") == 1
    assert data[8:16] == importlib.util.source_hash(source)
    namespace: dict[str, object] = {}
    exec(marshal.loads(data[16:]), namespace)
    assert namespace["VALUE"] == 42
    assert entry.origin == "pkg"


def test_tracebacks_name_the_image_s_paths() -> None:
    path = f"{LIBRARY}/pkg/mod.py"
    source = b"def f():\n    def g(): pass\n    return g\n"
    (entry,) = compiled(Entry(path, content=source)).values()
    code = marshal.loads(entry.read()[16:])
    inner = [constant for constant in code.co_consts if hasattr(constant, "co_filename")]
    assert {code.co_filename, *(c.co_filename for c in inner)} == {f"/{path}"}


def test_assertions_and_docstrings_stay() -> None:
    (entry,) = compiled(Entry(f"{LIBRARY}/m.py", content=b'"""Doc."""\nassert False\n')).values()
    with pytest.raises(AssertionError):
        exec(marshal.loads(entry.read()[16:]), {})


@pytest.mark.parametrize(
    "source",
    [b"print 'python 2'\n", b"{% template %}\n", b"\0", b"\xff\xfe", b"# coding: nothing\n"],
)
def test_what_does_not_compile_is_left_alone(source: bytes) -> None:
    good = Entry(f"{LIBRARY}/z.py", content=b"ok = 1\n")
    found = compiled(Entry(f"{LIBRARY}/a.py", content=source), good)
    assert list(found) == [f"{LIBRARY}/__pycache__/z.{TAG}.pyc"]


def test_warnings_of_old_code_do_not_disturb() -> None:
    assert compiled(Entry(f"{LIBRARY}/old.py", content=b"x = '\\d' is 1\n"))


def test_links_and_data_are_not_compiled() -> None:
    assert not compiled(
        symlink(f"{LIBRARY}/link.py", "m.py"), Entry(f"{LIBRARY}/data.txt", content=b"x = 1")
    )
    assert bytecode_entries([], python=PYTHON, interpreter=Interpreter(("/nowhere",), "")) == []


def test_the_order_of_modules_and_the_environment_change_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = b"KNOWN = {'a', 'b', 'c'}\ndef f(x):\n    return x in {'d', 'e', 'f'}\n"
    modules = [Entry(f"{LIBRARY}/m{i}.py", content=source) for i in range(3)]
    first = {path: entry.read() for path, entry in compiled(*modules).items()}
    (tmp_path / "struct.py").write_text("raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHASHSEED", "1234")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    again = compiled(*reversed(modules))
    assert {path: entry.read() for path, entry in again.items()} == first
    assert list(again) == sorted(again)


def test_a_compiler_that_fails_is_named_with_its_last_line() -> None:
    broken = Interpreter(
        (sys.executable, "-c", "import sys; sys.exit('first\\nout of luck')"), "the broken one"
    )
    with pytest.raises(ToolMissing, match=r"the broken one.*out of luck") as caught:
        compiled(Entry(f"{LIBRARY}/m.py", content=b""), interpreter=broken)
    assert "\n" not in str(caught.value)


# Which interpreter


@pytest.fixture
def cache() -> Iterator[Cache]:
    # Programs are run from it, which pytest's folder may forbid.
    with tempfile.TemporaryDirectory() as folder:
        yield Cache(Path(folder))


def test_this_python_compiles_when_the_version_is_right(cache: Cache) -> None:
    found = find_interpreter(PYTHON, locked={}, cache=cache, host=Platform.AMD64)
    assert found.argv == (sys.executable,)


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_another_python_on_path_is_found(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = write_program(tmp_path / "python3.99", "#!/bin/sh\necho cpython 3.99\n")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_interpreter("3.99", locked={}, cache=cache, host=None).argv == (str(program),)


@pytest.mark.parametrize("answer", ["pypy 3.99", "cpython 3.98", ""])
def test_a_python_that_is_another_one_is_not_used(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str
) -> None:
    write_program(tmp_path / "python3.99", f"#!/bin/sh\necho {answer}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ToolMissing, match=r"needs a CPython 3\.99") as caught:
        find_interpreter("3.99", locked={}, cache=cache, host=None)
    assert "bytecode = false" in caught.value.hint


LINKER = """#!/bin/sh
[ "$1" = --library-path ] && [ -e "$2/libc.so.6" ] && [ -x "$3" ] || exit 1
grep -q original "$2/libc.so.6" || exit 1
echo cpython 3.99
"""


@pytest.fixture
def locked(cache: Cache) -> dict[str, str]:
    """Return packages of an interpreter whose dynamic linker is a script."""
    host = Platform.AMD64
    packages = [
        deb(
            "libc6",
            [
                regular(f"lib/{host.gnu_triplet}/libc.so.6", "original"),
                regular(f"lib/{host.gnu_triplet}/ld-linux.so", LINKER, 0o755),
                soft_link("lib64/ld-linux-x86-64.so.2", f"/lib/{host.gnu_triplet}/ld-linux.so"),
                regular("etc/ld.so.conf", "not needed"),
            ],
        ),
        deb("python3.99-minimal", [regular("usr/bin/python3.99", "program", 0o755)]),
    ]
    return {package.name: cache.store(package.data) for package in packages}


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Debian's programs run on Linux")


@linux_only
def test_the_suite_s_own_python_goes_first(cache: Cache, locked: dict[str, str]) -> None:
    found = find_interpreter("3.99", locked=locked, cache=cache, host=Platform.AMD64)
    linker, option, libraries, program = found.argv
    assert option == "--library-path"
    assert Path(libraries, "libc.so.6").read_text() == "original"
    assert Path(program).name == "python3.99"
    assert Path(linker).resolve().is_relative_to(cache.folder.resolve())
    assert found.origin == "the suite's own python3.99"
    assert not list(cache.folder.glob("interpreters/*/etc"))


@linux_only
def test_the_suite_s_own_python_is_unpacked_once(cache: Cache, locked: dict[str, str]) -> None:
    first = find_interpreter("3.99", locked=locked, cache=cache, host=Platform.AMD64)
    for sha256 in locked.values():
        cache.blob_path(sha256).unlink()
    assert find_interpreter("3.99", locked=locked, cache=cache, host=Platform.AMD64) == first


@linux_only
@pytest.mark.parametrize("how", ["changed", "removed"])
def test_a_damaged_interpreter_is_unpacked_again(
    cache: Cache, locked: dict[str, str], how: str
) -> None:
    first = find_interpreter("3.99", locked=locked, cache=cache, host=Platform.AMD64)
    library = Path(first.argv[2], "libc.so.6")
    if how == "changed":
        library.write_text("tampered")
    else:
        shutil.rmtree(library.parent)
    assert find_interpreter("3.99", locked=locked, cache=cache, host=Platform.AMD64) == first
    assert library.read_text() == "original"
    assert not list(cache.folder.glob("interpreters/.new.*"))


@linux_only
def test_where_the_suite_s_python_cannot_run_another_does(cache: Cache) -> None:
    package = deb("python", [regular(f"usr/bin/python{PYTHON}", "no program", 0o755)])
    locked = {package.name: cache.store(package.data)}
    found = find_interpreter(PYTHON, locked=locked, cache=cache, host=Platform.AMD64)
    assert found.argv == (sys.executable,)
