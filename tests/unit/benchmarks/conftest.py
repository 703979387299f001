"""A project that looks enough like this one to be measured, and is done in no time."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchmarks.trees import Tree

Files = Mapping[str, str]
Commit = Callable[[Files], str]

BUILD = """
import hashlib
import io
import json as documents
import os
import pathlib
import tarfile

from invoke import task

LAYOUT = pathlib.Path("dist/images/production/linux-amd64")


def blob(data):
    digest = hashlib.sha256(data).hexdigest()
    (LAYOUT / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (LAYOUT / "blobs/sha256" / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}"}


def layer(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, size in files.items():
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, io.BytesIO(bytes(size)))
    return blob(buffer.getvalue())


@task
def build(c, platform="", target="", json=False):
    assert (platform, target, json) == ("all", "production", True)
    records = pathlib.Path(os.environ["ACCELERAPP_BUILD_CACHE"], "records")
    reused = records.exists()
    records.mkdir(parents=True, exist_ok=True)
    one = {"site/one.py": 100, "site/one-1.dist-info/WHEEL": 10}
    two = {"site/two/x.py": 200, "site/two-2.dist-info/WHEEL": 10, "other/y.py": 5000}
    layers = [layer({"python/os.py": 1000}), layer(one | two), layer({"site/one.py": 101})]
    manifest = blob(documents.dumps({"layers": layers}).encode())
    (LAYOUT / "index.json").write_text(documents.dumps({"manifests": [manifest]}))
    image = {"platform": "linux/amd64", "size_bytes": 1234, "unpacked_bytes": 5678}
    image["layers"] = [{"reused": reused}] * 3
    print(documents.dumps({"images": [{"platforms": [image]}]}))
"""
NO_BUILD = "from invoke import task\n\n@task\ndef other(c):\n    pass\n"
APPLICATION = """
import http.server
import pathlib
import sys


class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()


match sys.argv[1:]:
    case ["new", "--output", file]:
        pathlib.Path(file).write_text("name: x")
    case ["generate", file, "--output", folder]:
        assert pathlib.Path(file).read_text() == "name: x"
        pathlib.Path(folder).mkdir()
    case ["serve", "--port", port]:
        http.server.HTTPServer(("127.0.0.1", int(port)), Ready).serve_forever()
"""
MONITOR = """
import http.server
import os


class Metrics(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        known = self.path in ("/livez", "/metrics")
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


assert os.environ["ACCELERAPP_URL"].startswith("http://127.0.0.1:")
http.server.HTTPServer(("127.0.0.1", int(os.environ["MONITOR_PORT"])), Metrics).serve_forever()
"""
WHOLE = {
    ".gitignore": "dist\n__pycache__\n",
    "tasks.py": BUILD,
    "src/accelerapp/__main__.py": APPLICATION,
    "monitoring/monitor.py": MONITOR,
}


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ("git", *who, *arguments), cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def write(folder: Path, files: Files) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository; nothing of this machine's git is in it."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    return root


@pytest.fixture
def commit(repository: Path) -> Commit:
    """Return a function that commits files and returns the commit."""

    def make(files: Files) -> str:
        write(repository, files)
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "--allow-empty", "--message=x")
        return git(repository, "rev-parse", "HEAD")

    return make


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[Files], Tree]:
    """Return a function that makes a tree of files, as if it were checked out."""

    def make(files: Files) -> Tree:
        one = Tree("head", "b" * 40, tmp_path / "trees" / "head")
        one.code.mkdir(parents=True)
        write(one.code, files)
        return one

    return make
