"""The cache repairs itself, serves several builds at once, and is never half written."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import resource
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from pipeline.cache import Cache, default_cache_folder, key_of
from pipeline.errors import CacheBusy, OutputUnwritable

REPOSITORY = Path(__file__).parents[3]
DATA = b"some bytes" * 100
SHA256 = hashlib.sha256(DATA).hexdigest()
DAY_S = 86_400


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def files(cache: Cache) -> list[str]:
    return sorted(
        path.relative_to(cache.folder).as_posix()
        for path in cache.folder.rglob("*")
        if path.is_file()
    )


def age(path: Path, seconds: float) -> None:
    now = path.stat().st_mtime
    os.utime(path, (now - seconds, now - seconds))


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        (sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)),
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


# Blobs.


def test_a_blob_is_found_by_its_digest(cache: Cache) -> None:
    assert cache.verified(SHA256) is None
    assert cache.store(DATA) == SHA256
    found = cache.verified(SHA256)
    assert found == cache.blob_path(SHA256)
    assert found.read_bytes() == DATA
    assert found.stat().st_mode & 0o777 == 0o644
    assert cache.damaged == []


def test_a_blob_is_looked_for_without_reading_it(cache: Cache) -> None:
    assert not cache.has(SHA256, len(DATA))
    cache.store(DATA)
    assert cache.has(SHA256, len(DATA))
    assert not cache.has(SHA256, len(DATA) + 1)


@pytest.mark.parametrize("damage", [b"", DATA[:-1], DATA[:-1] + b"?", DATA + b"?"])
def test_a_damaged_blob_is_removed_and_noted(cache: Cache, damage: bytes) -> None:
    cache.store(DATA)
    cache.blob_path(SHA256).write_bytes(damage)
    assert cache.verified(SHA256) is None
    assert cache.damaged == [f"blob {SHA256[:12]}"]
    assert files(cache) == []
    cache.store(DATA)
    assert cache.verified(SHA256)


def test_a_blob_that_is_not_kept_leaves_nothing(cache: Cache) -> None:
    with cache.new_blob() as blob:
        blob.file.write(DATA)
    assert files(cache) == []


def test_a_blob_whose_writer_fails_leaves_nothing(cache: Cache) -> None:
    def fail() -> None:
        with cache.new_blob() as blob:
            blob.file.write(DATA)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert files(cache) == []


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_disk_that_refuses_is_one_line_and_leaves_nothing(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OutputUnwritable, match="cannot be written: no space left"):
        cache.store(DATA)
    with pytest.raises(OutputUnwritable, match="cannot be written: no space left"):
        cache.write_record("kind", "key", {})
    assert files(cache) == []


def test_a_file_that_may_not_grow_leaves_nothing(cache: Cache) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100
    code = """
        import resource, sys
        from pathlib import Path
        from pipeline.cache import Cache
        from pipeline.errors import OutputUnwritable
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            Cache(Path(sys.argv[1])).store(bytes(1000))
        except OutputUnwritable as error:
            print(error)
    """
    with start(code, cache.folder) as process:
        out, _ = process.communicate()
    assert "cannot be written: file too large" in out
    assert files(cache) == []


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file" / "cache")
    with pytest.raises(OutputUnwritable, match="cannot be written"):
        cache.store(DATA)
    with pytest.raises(OutputUnwritable, match="cannot be written"), cache.in_use():
        pass


def test_writers_of_the_same_blob_do_not_meet(cache: Cache) -> None:
    started = threading.Barrier(6)
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            started.wait()
            for turn in range(20):
                assert cache.store(DATA) == SHA256
                cache.write_record("kind", "key", {"same": [1, 2, 3]})
                cache.store(f"{number} {turn}".encode())
                assert cache.verified(SHA256)
                assert cache.record("kind", "key") == {"same": [1, 2, 3]}
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert cache.damaged == []
    assert len(files(cache)) == 6 * 20 + 2
    assert not list((cache.folder / "tmp").iterdir())


# Records.


def test_a_record_is_found_by_its_kind_and_key(cache: Cache) -> None:
    value = {"b": [1, None, "ü"], "a": True}
    assert cache.record("layers", "k") is None
    cache.write_record("layers", "k", value)
    assert cache.record("layers", "k") == value
    assert cache.record("checked", "k") is None
    assert cache.record("layers", "other") is None


@pytest.mark.parametrize("keep", range(0, 90, 7))
def test_a_record_that_was_cut_is_removed_and_noted(cache: Cache, keep: int) -> None:
    cache.write_record("layers", "key", {"digest": "sha256:0123456789", "size": 5})
    path = cache.folder / "records" / "layers" / "key.json"
    assert keep < len(path.read_bytes())
    path.write_bytes(path.read_bytes()[:keep])
    assert cache.record("layers", "key") is None
    assert cache.damaged == ["record layers/key"]
    assert files(cache) == []


def test_a_record_with_a_changed_byte_is_removed_and_noted(cache: Cache) -> None:
    cache.write_record("layers", "key", {"size": 5})
    path = cache.folder / "records" / "layers" / "key.json"
    path.write_bytes(path.read_bytes().replace(b"5}", b"6}"))
    assert cache.record("layers", "key") is None
    assert cache.damaged == ["record layers/key"]


def test_keys_do_not_depend_on_the_order_of_a_mapping() -> None:
    assert key_of({"a": 1, "b": [1, 2]}) == key_of({"b": [1, 2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": "1"})
    assert key_of([1, 2]) != key_of([2, 1])
    assert key_of(None) == hashlib.sha256(b"null").hexdigest()


# Using and pruning.


def test_what_no_build_used_for_long_is_pruned(cache: Cache) -> None:
    kept, old = cache.store(b"kept"), cache.store(b"old!")
    cache.write_record("layers", "old", {})
    environment = cache.folder / "environments" / "abc"
    (environment / "lib").mkdir(parents=True)
    (environment / "lib" / "module.py").write_bytes(b"12345")
    record = cache.folder / "records" / "layers" / "old.json"
    size_bytes = 4 + record.stat().st_size + 5
    for path in (cache.blob_path(old), record, environment):
        age(path, 10 * DAY_S)
    now_s = cache.blob_path(kept).stat().st_mtime
    assert cache.prune(unused_for_s=9 * DAY_S, now_s=now_s) == (3, size_bytes)
    assert files(cache) == sorted(["in-use", f"blobs/sha256/{kept[:2]}/{kept}"])
    assert not environment.exists()


def test_a_blob_and_a_record_that_are_used_stay_young(cache: Cache) -> None:
    cache.store(DATA)
    cache.write_record("layers", "key", 1)
    paths = [cache.blob_path(SHA256), cache.folder / "records" / "layers" / "key.json"]
    now_s = paths[0].stat().st_mtime
    for path in paths:
        age(path, 10 * DAY_S)
    cache.verified(SHA256)
    cache.record("layers", "key")
    assert cache.prune(unused_for_s=DAY_S, now_s=now_s) == (0, 0)


def test_an_absent_cache_is_already_pruned(cache: Cache) -> None:
    assert cache.prune(unused_for_s=0, now_s=0) == (0, 0)
    assert cache.usage() == ()
    assert not cache.folder.exists()


def test_prune_refuses_while_a_build_runs(cache: Cache) -> None:
    cache.store(DATA)
    later_s = cache.blob_path(SHA256).stat().st_mtime + DAY_S
    with cache.in_use(), cache.in_use():
        with pytest.raises(CacheBusy, match=r"a build is using the cache .*; try again"):
            cache.prune(unused_for_s=0, now_s=later_s)
        assert cache.verified(SHA256)
    assert cache.prune(unused_for_s=0, now_s=later_s)[0] == 1


def test_prune_refuses_while_a_build_runs_in_another_process(cache: Cache) -> None:
    code = """
        import sys
        from pathlib import Path
        from pipeline.cache import Cache
        with Cache(Path(sys.argv[1])).in_use():
            print("in use", flush=True)
            sys.stdin.read()
    """
    with start(code, cache.folder) as build:
        assert build.stdout is not None
        assert build.stdout.readline() == "in use\n"
        with pytest.raises(CacheBusy):
            cache.prune(unused_for_s=0, now_s=0)
        build.kill()
    assert cache.prune(unused_for_s=0, now_s=0) == (0, 0)


def test_only_one_at_a_time_holds_a_lock(cache: Cache) -> None:
    with (
        cache.alone("other"),
        cache.alone("name"),
        (cache.folder / "locks" / "name").open("ab") as file,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (cache.folder / "locks" / "name").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_a_killed_build_left_is_removed_after_a_day(cache: Cache) -> None:
    folder = cache.temporary_folder()
    (folder / "old").write_bytes(b"x")
    (folder / "old-folder" / "deep").mkdir(parents=True)
    (folder / "young").write_bytes(b"x")
    age(folder / "old", 2 * DAY_S)
    age(folder / "old-folder", 2 * DAY_S)
    with cache.in_use():
        assert [path.name for path in folder.iterdir()] == ["young"]


def test_a_killed_writer_leaves_no_blob(cache: Cache) -> None:
    code = """
        import os, signal, sys
        from pathlib import Path
        from pipeline.cache import Cache
        with Cache(Path(sys.argv[1])).new_blob() as blob:
            blob.file.write(bytes(100_000))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    with start(code, cache.folder):
        pass
    (leftover,) = files(cache)
    assert leftover.startswith("tmp/")
    age(cache.folder / leftover, 2 * DAY_S)
    with cache.in_use():
        assert files(cache) == ["in-use"]


def test_usage_counts_each_part(cache: Cache) -> None:
    cache.store(b"12345")
    cache.store(b"123")
    cache.write_record("kind", "key", 1)
    usage = {part.part: (part.files, part.size_bytes) for part in cache.usage()}
    record = cache.folder / "records" / "kind" / "key.json"
    assert usage == {"blobs": (2, 8), "records": (1, record.stat().st_size), "tmp": (0, 0)}


def test_the_cache_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACCELERAPP_BUILD_CACHE", str(tmp_path / "mine"))
    assert default_cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("ACCELERAPP_BUILD_CACHE", "relative")
    monkeypatch.chdir(tmp_path)
    assert default_cache_folder() == tmp_path / "relative"
    monkeypatch.setenv("ACCELERAPP_BUILD_CACHE", "")
    assert default_cache_folder().name == "accelerapp"


def test_a_record_is_json_that_people_can_read(cache: Cache) -> None:
    cache.write_record("kind", "key", {"a": 1})
    text = (cache.folder / "records" / "kind" / "key.json").read_text()
    assert json.loads(text.splitlines()[1]) == {"a": 1}
