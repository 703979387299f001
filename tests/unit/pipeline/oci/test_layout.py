"""Whoever reads a layout sees the old image or the new one, whatever happens to the writer."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import ImageInvalid, ImageMissing, OutputUnwritable
from pipeline.oci.image import Format
from pipeline.oci.layout import NamedImage, blob_path, open_layout, read_layout, write_layout
from pipeline.platforms import Platform
from tests.unit.pipeline.oci.image_factory import Blobs
from tests.unit.pipeline.oci.specification import DOCKER, OCI, check_layout

REPOSITORY = Path(__file__).parents[4]
KILLS = 12
PROLOGUE = """
import sys
from pathlib import Path
from pipeline.oci.layout import write_layout
from pipeline.platforms import Platform
from tests.unit.pipeline.oci.image_factory import Blobs
work = Path(sys.argv[1])
blobs = Blobs(work / "source")
old, new = blobs.image("old", platforms=[Platform.ARM64]), blobs.image("new")
"""


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "source")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images" / "production"


def texts(folder: Path) -> set[str]:
    """Return what the images of a valid layout say they are."""
    return {config["config"]["Labels"]["text"] for config in check_layout(folder).values()}


def files(folder: Path) -> dict[str, bytes | str]:
    """Return everything in a folder: contents, and the targets of links."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def digests(image: NamedImage) -> set[str]:
    return {d.descriptor.digest for d in image.documents()} | set(image.layer_digests())


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        (sys.executable, "-c", PROLOGUE + textwrap.dedent(code), *map(str, arguments)),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("format", "types"), [(Format.OCI, OCI), (Format.DOCKER, DOCKER)])
def test_a_layout_follows_the_specification(
    blobs: Blobs, folder: Path, format: Format, types: dict[str, str]
) -> None:
    write_layout(folder, blobs.image("new", format=format), blobs)
    assert list(check_layout(folder, types)) == ["linux/amd64", "linux/arm64"]


def test_a_layout_of_one_platform_names_its_manifest(blobs: Blobs, folder: Path) -> None:
    write_layout(folder, blobs.image("new", platforms=[Platform.ARM64]), blobs)
    assert list(check_layout(folder)) == ["linux/arm64"]
    (descriptor,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    assert descriptor["mediaType"] == OCI["manifest"]
    assert descriptor["platform"]["variant"] == "v8"


def test_engines_find_the_names_they_look_for(blobs: Blobs, folder: Path) -> None:
    write_layout(folder, blobs.image("new"), blobs)
    (descriptor,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    assert descriptor["annotations"] == {
        "org.opencontainers.image.ref.name": "production",
        "io.containerd.image.name": "docker.io/library/example:production",
    }


def test_names_stay_out_of_the_image_itself(blobs: Blobs) -> None:
    image = blobs.image("new")
    assert not any(b"ref.name" in document.data for document in image.documents())


def test_each_platform_has_a_view_that_shares_the_blobs(blobs: Blobs, folder: Path) -> None:
    write_layout(folder, blobs.image("new"), blobs)
    for platform in ("amd64", "arm64"):
        view = folder / f"linux-{platform}"
        assert list(check_layout(view)) == [f"linux/{platform}"]
        assert os.readlink(view / "blobs") == "../blobs"


def test_a_layout_that_is_moved_stays_whole(blobs: Blobs, folder: Path, tmp_path: Path) -> None:
    write_layout(folder, blobs.image("new"), blobs)
    shutil.move(folder, tmp_path / "elsewhere")
    assert list(check_layout(tmp_path / "elsewhere" / "linux-amd64")) == ["linux/amd64"]


def test_the_same_image_gives_the_same_folder(blobs: Blobs, tmp_path: Path) -> None:
    write_layout(tmp_path / "one", blobs.image("new"), blobs)
    write_layout(tmp_path / "two", blobs.image("old"), blobs)
    write_layout(tmp_path / "two", blobs.image("new"), blobs)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_everybody_may_read_a_layout(blobs: Blobs, folder: Path) -> None:
    write_layout(folder, blobs.image("new"), blobs)
    modes = {
        path.relative_to(folder).as_posix(): path.stat().st_mode & 0o777
        for path in (folder, *folder.rglob("*"))
    }
    assert {mode for path, mode in modes.items() if (folder / path).is_dir()} == {0o755}
    assert {mode for path, mode in modes.items() if (folder / path).is_file()} == {0o644}


def test_an_unchanged_layout_is_not_written_again(blobs: Blobs, folder: Path) -> None:
    write_layout(folder, blobs.image("new"), blobs)
    before = {path: path.stat().st_ino for path in folder.rglob("*") if path.is_file()}
    write_layout(folder, blobs.image("new"), blobs)
    assert {path: path.stat().st_ino for path in folder.rglob("*") if path.is_file()} == before


def test_what_nothing_names_any_more_is_removed(blobs: Blobs, folder: Path) -> None:
    old, new = blobs.image("old"), blobs.image("new", platforms=[Platform.ARM64])
    write_layout(folder, old, blobs)
    write_layout(folder, new, blobs)
    kept = {f"sha256:{path.name}" for path in (folder / "blobs" / "sha256").iterdir()}
    assert kept == digests(new)
    assert not (folder / "linux-amd64").exists()
    assert texts(folder / "linux-arm64") == {"new"}


def test_a_damaged_blob_of_a_layout_is_repaired(blobs: Blobs, folder: Path) -> None:
    image = blobs.image("new")
    write_layout(folder, image, blobs)
    for digest in digests(image):
        blob = folder / "blobs" / digest.replace(":", "/")
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    write_layout(folder, image, blobs)
    assert texts(folder) == {"new"}


# A writer that does not come to its end.


@pytest.mark.parametrize("start", ["absent", "empty", "old"])
def test_killed_at_any_step_there_is_the_old_image_or_the_new_one(
    tmp_path: Path, start: str
) -> None:
    subprocess.run(
        (sys.executable, "-m", "tests.unit.pipeline.oci.kill_each_step", str(tmp_path), start),
        cwd=REPOSITORY,
        check=True,
    )
    steps = int((tmp_path / "finished").read_text())
    assert steps > 20
    clean = files(tmp_path / str(steps) / "layout")
    seen = []
    for step in range(steps + 1):
        folder = tmp_path / str(step) / "layout"
        if (folder / "index.json").exists():
            seen.append(texts(folder))
            for view in folder.glob("linux-*/index.json"):
                assert texts(view.parent) <= {"old", "new"}
        else:
            assert start != "old"
            assert not files(folder)
            seen.append(set())
        again = tmp_path / f"{step}-again"
        assert files(again / "layout") == clean, f"killed before step {step}, then built again"
        assert {path.name for path in again.iterdir()} == {".lock", "layout"}
    before = {"old"} if start == "old" else set()
    change = seen.index({"new"})
    assert seen == [before] * change + [{"new"}] * (len(seen) - change)
    assert change > 10


def test_a_writer_that_is_killed_again_and_again_leaves_a_valid_layout(tmp_path: Path) -> None:
    code = """
        write_layout(work / "layout", old, blobs)
        for turn in range(100_000):
            print(turn, flush=True)
            write_layout(work / "layout", (new, old)[turn % 2], blobs)
    """
    for kill in range(KILLS):
        with start(code, tmp_path) as writer:
            assert writer.stdout is not None
            for _ in range(kill % 5 + 1):
                assert writer.stdout.readline(), writer.stderr and writer.stderr.read()
            writer.kill()
        assert texts(tmp_path / "layout") in ({"old"}, {"new"})
    new = Blobs(tmp_path / "source").image("new")
    write_layout(tmp_path / "layout", new, Blobs(tmp_path / "source"))
    assert texts(tmp_path / "layout") == {"new"}
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "layout", "source"}


def test_writers_of_one_folder_wait_for_each_other(blobs: Blobs, folder: Path) -> None:
    images = [blobs.image(text, platforms=[p]) for text in ("a", "b") for p in Platform]
    failures: list[BaseException] = []

    def write(image: NamedImage) -> None:
        try:
            for _ in range(5):
                write_layout(folder, image, blobs)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(image,)) for image in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(check_layout(folder)) == 1
    assert len(list((folder / "blobs" / "sha256").iterdir())) == 4


# A disk that refuses.


def refuse(code: int, when: Callable[[Path], bool]) -> Callable[..., None]:
    def replace(source: str | Path, destination: str | Path) -> None:
        if when(Path(destination)):
            raise OSError(code, os.strerror(code), str(destination))
        os.rename(source, destination)

    return replace


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("victim", ["blobs", "index.json", "oci-layout"])
def test_a_disk_that_refuses_leaves_the_old_image(
    blobs: Blobs, folder: Path, monkeypatch: pytest.MonkeyPatch, code: int, victim: str
) -> None:
    write_layout(folder, blobs.image("old"), blobs)
    if victim == "oci-layout":
        (folder / "oci-layout").write_bytes(b'{"imageLayoutVersion": "1.0.0"}')
    refusal = refuse(code, lambda path: victim in path.parts)
    monkeypatch.setattr(os, "replace", refusal)
    with pytest.raises(OutputUnwritable, match=os.strerror(code).lower()) as caught:
        write_layout(folder, blobs.image("new"), blobs)
    assert "choose another folder" in caught.value.hint
    assert texts(folder) == {"old"}
    assert not list(folder.rglob(".*"))


def test_a_disk_that_refuses_a_new_layout_leaves_nothing(
    blobs: Blobs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = refuse(errno.ENOSPC, lambda path: path == folder)
    monkeypatch.setattr(os, "replace", refusal)
    with pytest.raises(OutputUnwritable, match="no space left on device"):
        write_layout(folder, blobs.image("new"), blobs)
    assert [path.name for path in folder.parent.iterdir()] == [".lock"]


def test_a_file_that_may_not_grow_is_one_line(tmp_path: Path) -> None:
    code = """
        import resource
        from pipeline.errors import ImageInvalid, ImageMissing, OutputUnwritable
        write_layout(work / "layout", old, blobs)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            write_layout(work / "layout", new, blobs)
        except OutputUnwritable as error:
            print(error)
    """
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100
    with start(code, tmp_path) as writer:
        out, err = writer.communicate()
    assert err == ""
    assert "cannot be written: file too large; free space there" in out
    assert out.count("\n") == 1
    assert texts(tmp_path / "layout") == {"old"}
    assert not list((tmp_path / "layout").rglob(".*"))


@pytest.mark.parametrize("name", ["images", "images/production"])
def test_a_file_where_a_folder_should_be_is_one_line(
    blobs: Blobs, tmp_path: Path, folder: Path, name: str
) -> None:
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    place.write_text("not a folder")
    with pytest.raises(OutputUnwritable, match="cannot be written"):
        write_layout(folder, blobs.image("new"), blobs)
    assert place.read_text() == "not a folder"


# A folder that is not ours.


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["thesis.txt"], id="a file"),
        pytest.param(["blobs/x", "thesis.txt"], id="blobs and a file"),
        pytest.param(["index.json", "linux-x64/program"], id="another kind of index.json"),
        pytest.param([".hidden"], id="a hidden file"),
    ],
)
def test_a_folder_that_is_no_layout_is_refused_and_untouched(
    blobs: Blobs, folder: Path, names: list[str]
) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    before = files(folder)
    with pytest.raises(OutputUnwritable, match="something that is not an image layout") as caught:
        write_layout(folder, blobs.image("new"), blobs)
    assert "--output" in caught.value.hint
    assert files(folder) == before
    assert {path.name for path in folder.parent.iterdir()} == {".lock", folder.name}


def test_other_things_in_a_layout_are_left_alone(blobs: Blobs, folder: Path) -> None:
    write_layout(folder, blobs.image("old"), blobs)
    for name in ("notes.txt", "linux-x64/program", ".gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    write_layout(folder, blobs.image("new"), blobs)
    assert (folder / "notes.txt").read_text() == "notes.txt"
    assert (folder / "linux-x64" / "program").exists()
    assert (folder / ".gitignore").exists()


def test_an_empty_folder_is_taken(blobs: Blobs, folder: Path) -> None:
    folder.mkdir(parents=True)
    write_layout(folder, blobs.image("new"), blobs)
    assert texts(folder) == {"new"}


# Reading.


@pytest.mark.parametrize("format", Format)
def test_a_layout_says_what_it_holds(blobs: Blobs, folder: Path, format: Format) -> None:
    image = blobs.image("new", format=format)
    write_layout(folder, image, blobs)
    summary = read_layout(folder)
    assert summary is not None
    assert summary.digest == image.top.descriptor.digest
    assert summary.platforms == ("linux/amd64", "linux/arm64")
    assert summary.created == "2023-11-14T22:13:20Z"
    layers = {layer.digest: layer.size_bytes for i in image.images for layer in i.layers}
    assert len(layers) == 3
    assert summary.size_bytes == sum(layers.values())


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"manifests": []}', '{"manifests": [1]}'])
def test_a_layout_that_cannot_be_read_is_none(blobs: Blobs, folder: Path, damage: str) -> None:
    assert read_layout(folder) is None
    write_layout(folder, blobs.image("new"), blobs)
    (folder / "index.json").write_text(damage)
    assert read_layout(folder) is None


def test_a_layout_that_holds_another_image_is_left_alone(blobs: Blobs, folder: Path) -> None:
    write_layout(folder, blobs.image("theirs", tag="other"), blobs)
    before = files(folder)
    with pytest.raises(OutputUnwritable, match="another image, 'other'"):
        write_layout(folder, blobs.image("ours"), blobs)
    assert files(folder) == before


def test_a_view_that_is_a_link_is_replaced_and_its_target_left_alone(
    blobs: Blobs, folder: Path, tmp_path: Path
) -> None:
    write_layout(folder, blobs.image("old"), blobs)
    for name in ("linux-amd64", "linux-arm64"):
        shutil.rmtree(folder / name)
        (tmp_path / f"theirs-{name}").mkdir()
        (folder / name).symlink_to(tmp_path / f"theirs-{name}")
    write_layout(folder, blobs.image("new", platforms=[Platform.AMD64]), blobs)
    assert texts(folder) == {"new"}
    assert not (folder / "linux-arm64").is_symlink()
    assert not list(tmp_path.glob("theirs-*/*"))


@pytest.mark.parametrize("format", Format)
@pytest.mark.parametrize("platforms", [list(Platform), [Platform.ARM64]])
def test_what_was_written_is_read_back_to_the_byte(
    blobs: Blobs, folder: Path, format: Format, platforms: list[Platform]
) -> None:
    image = blobs.image("new", format=format, platforms=platforms)
    write_layout(folder, image, blobs)
    read = open_layout(folder)
    assert {d.data for d in read.documents()} == {d.data for d in image.documents()}
    assert read.top.descriptor.digest == image.top.descriptor.digest
    assert [part.platform for part in read.images] == platforms
    assert [part.layers for part in read.images] == [part.layers for part in image.images]
    assert (read.repository, read.tag, read.format) == ("example", "production", format)


def test_an_index_of_others_keeps_its_bytes(blobs: Blobs, folder: Path) -> None:
    write_layout(folder, blobs.image("new"), blobs)
    index = json.loads((folder / "index.json").read_bytes())
    own = blob_path(folder, index["manifests"][0]["digest"]).read_bytes()
    spaced = json.dumps(json.loads(own), indent=3).encode()
    digest = f"sha256:{hashlib.sha256(spaced).hexdigest()}"
    blob_path(folder, digest).write_bytes(spaced)
    index["manifests"][0] |= {"digest": digest, "size": len(spaced)}
    (folder / "index.json").write_text(json.dumps(index))
    read = open_layout(folder)
    assert read.top.data == spaced
    copied = folder.parent / "copy"
    write_layout(copied, read, lambda digest: blob_path(folder, digest))
    assert open_layout(copied).top.data == spaced


def test_a_layout_that_is_not_there_is_missing(folder: Path) -> None:
    with pytest.raises(ImageMissing, match=r"there is no image in .*invoke build"):
        open_layout(folder)


def test_a_document_that_was_changed_is_noticed(blobs: Blobs, folder: Path) -> None:
    image = blobs.image("new")
    write_layout(folder, image, blobs)
    path = blob_path(folder, image.images[1].config.descriptor.digest)
    path.write_bytes(path.read_bytes().replace(b"new", b"old"))
    with pytest.raises(ImageInvalid, match=r"cannot be used: sha256:\w+ has the content of"):
        open_layout(folder)


@pytest.mark.parametrize(
    "damage",
    [
        *("", "{}", "[]", '{"manifests": []}', '{"manifests": [1]}'),
        *('{"manifests": null}', '{"manifests": 3}', "[" * 100_000),
    ],
    ids=lambda damage: damage[:20],
)
def test_a_damaged_layout_is_refused_in_one_line(blobs: Blobs, folder: Path, damage: str) -> None:
    write_layout(folder, blobs.image("new"), blobs)
    (folder / "index.json").write_text(damage)
    with pytest.raises(ImageInvalid) as caught:
        open_layout(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
