"""`diff`: what people see, what programs get, and what the exit code says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import shipping
from pipeline.entries import Entry
from pipeline.errors import ImageInvalid, ImageMissing, UnsupportedPlatform
from pipeline.oci.image import Configuration, Format, image_documents
from pipeline.oci.layout import NamedImage, write_layout
from pipeline.platforms import Platform
from tests.unit.pipeline.oci.image_factory import EPOCH_S, Blobs
from tests.unit.pipeline.tasks.test_namespace import run


class Made:
    """Layouts of one platform with given entries."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = Blobs(folder / "source")

    def layout(
        self,
        name: str,
        entries: Sequence[Entry],
        platform: Platform = Platform.AMD64,
        **settings: Any,
    ) -> str:
        base = self.blobs.layer([Entry("etc/base", content=b"base")], "base")
        own = self.blobs.layer(entries, "own\x1b[31m")
        documents = image_documents(
            platform,
            Configuration(**settings),
            [base, own],
            created_s=EPOCH_S,
            format=Format.OCI,
            annotations={},
        )
        image = NamedImage("example", "production", (documents,), Format.OCI, {})
        write_layout(self.folder / name, image, self.blobs)
        return str(self.folder / name)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def status(version: str) -> Entry:
    return Entry(
        "var/lib/dpkg/status.d/libc6", content=f"Package: libc6\nVersion: {version}".encode()
    )


def metadata(version: str) -> Entry:
    path = "usr/lib/python3/site-packages/flask.dist-info/METADATA"
    return Entry(path, content=f"Name: Flask\nVersion: {version}\n".encode())


@pytest.fixture
def pair(made: Made) -> tuple[str, str]:
    """Two images that differ in a bit of everything."""
    before = made.layout(
        "before",
        [status("2.36-9"), metadata("3.1"), Entry("app/old"), Entry("app/run", content=b"1")],
        user="0:0",
        environment={"KEY": "one"},
        health_test=["CMD", "x"],
        health_interval_s=30,
    )
    after = made.layout(
        "after",
        [
            status("2.36-10"),
            metadata("3.0"),
            Entry("app/new\x1b]0;title\x07", content=b"123", mode=0o755, uid=7),
            Entry("app/run", content=b"22", mode=0o755),
        ],
        user="1000:1000",
        environment={"KEY": "two"},
        health_test=["CMD", "x"],
        health_interval_s=1.5,
    )
    return before, after


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line]


def test_people_see_what_changed(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("diff", *pair) == 0
    shown = lines(capsys)
    assert shown[0] == "linux/amd64: different"
    for line in [
        "Env KEY changed one two",
        "User changed 0:0 1000:1000",
        "Healthcheck Interval changed 30 s 1.5 s",
        "libc6 upgraded 2.36-9 2.36-10",
        "flask downgraded 3.1 3.0",
        "/app/old removed file 0644 0:0 0 B",
        "/app/new\\x1b]0;title\\x07 added file 0755 7:0 3 B",
        "/app/run changed content, 0644 → 0755 1 B → 2 B",
    ]:
        assert line in shown
    assert sum(line.endswith("kB base") and " shared " in line for line in shown) == 1
    own = [line.split()[1] for line in shown if line.endswith(" own\\x1b[31m")]
    assert own == ["removed", "added"]


def test_nothing_in_an_image_commands_the_terminal(
    pair: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run("diff", *pair)
    assert "\x1b" not in capsys.readouterr().out


def test_programs_get_all_of_it(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("diff", *pair, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["before"], found["after"], found["differs"]) == (*pair, True)
    (platform,) = found["platforms"]
    assert platform["platform"] == "linux/amd64"
    assert platform["debian_packages"] == [
        {"name": "libc6", "before": "2.36-9", "after": "2.36-10", "change": "upgraded"}
    ]
    run_file = next(file for file in platform["files"] if file["path"] == "/app/run")
    assert run_file["what"] == ["content", "mode"]
    assert (run_file["before"]["mode"], run_file["after"]["mode"]) == ("0644", "0755")
    assert [len(platform["layers"][key]) for key in ("shared", "removed", "added")] == [1, 1, 1]


def test_many_files_are_summed_by_folder_unless_all_are_asked_for(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    before = made.layout("before", [])
    entries = [
        Entry(f"usr/lib/p{number}/{name}", content=bytes(1000))
        for number in range(30)
        for name in ("a", "b")
    ]
    after = made.layout("after", [*entries, Entry("srv/one", content=b"x")])
    assert run("diff", before, after) == 0
    shown = lines(capsys)
    # 30 folders would be too many rows: those above them it is. The folders are new, too.
    assert "/usr/lib 90 0 0 +60.0 kB" in shown
    assert "/srv 1 0 0 +1 B" in shown
    assert shown[-1].startswith("94 files and folders: 94 added, 0 removed, 0 changed, +60.0 kB")
    assert len(shown) < 20
    assert run("diff", before, after, "--all") == 0
    shown = lines(capsys)
    assert "/usr/lib/p7/b added file 0644 0:0 1.0 kB" in shown
    assert sum(line.startswith("/") for line in shown) == 94


def test_an_image_is_identical_to_itself(
    pair: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("diff", pair[0], pair[0], "--exit-code") == 0
    (line,) = lines(capsys)
    assert line.startswith("linux/amd64: identical, sha256:")


def test_the_exit_code_says_so_when_it_is_asked(
    pair: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("diff", *pair) == 0
    assert run("diff", *pair, "--exit-code") == 1
    out, err = capsys.readouterr()
    assert out
    assert "error" not in err
    assert run("diff", *pair, "--exit-code", "--json") == 1


def test_a_platform_that_is_gone_is_said(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    one = made.layout("one", [], Platform.AMD64)
    other = made.layout("other", [], Platform.ARM64)
    assert run("diff", one, other, "--exit-code") == 1
    assert lines(capsys) == ["linux/amd64: removed", "linux/arm64: added"]


def test_a_reference_is_pulled_from_its_registry(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    local = made.layout("local", [])
    asked = []

    def pull(request: shipping.PullRequest, progress: object) -> None:
        asked.append(request)
        assert request.output is not None
        made.folder = request.output.parent
        made.layout(request.output.name, [Entry("new")])

    monkeypatch.setattr(shipping, "pull", pull)
    flags = ("--platform=amd64", "--plain-http")
    assert run("diff", local, "registry.example/x:1", *flags) == 0
    assert "/new added file 0644 0:0 0 B" in lines(capsys)
    (request,) = asked
    assert (request.reference, request.plain_http) == ("registry.example/x:1", True)
    assert list(request.platforms) == ["linux/amd64"]


@pytest.mark.parametrize(
    ("other", "flags", "code"),
    [
        ("absent", [], ImageMissing.exit_code),
        ("text", [], ImageInvalid.exit_code),
        ("before", ["--platform=arm64"], ImageMissing.exit_code),
        ("before", ["--platform=arm65"], UnsupportedPlatform.exit_code),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    pair: tuple[str, str],
    tmp_path: Path,
    other: str,
    flags: list[str],
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text").write_text("x")
    assert run("diff", pair[0], str(tmp_path / other), *flags) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
