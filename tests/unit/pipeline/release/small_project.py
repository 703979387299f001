"""A project as small as one can be that has all that a release touches, in a git repository."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.process import Completed, run
from pipeline.release.checks import Question
from pipeline.release.questions import Doors

CHANGELOG = """\
# Changelog

## Unreleased

### Added

- Something.
"""
CHART = "deployment/helm/accelerapp"
MANIFEST = "deployment/kubernetes/accelerapp-deployment.yaml"
FILES: Mapping[str, str] = {
    "src/accelerapp/__init__.py": '"""A package."""\n\n__version__ = "0.1.0"\n',
    "src/accelerapp/cli.py": "def main() -> int:\n    return 0\n",
    "monitoring/__init__.py": '__version__ = "0.1.0"\n',
    f"{CHART}/Chart.yaml": (
        'apiVersion: v2\nname: accelerapp\nversion: 0.1.0\nappVersion: "0.1.0"\n'
    ),
    f"{CHART}/README.md": "$ helm install accelerapp oci://R/c --version 0.1.0 \\\n    --wait\n",
    f"{CHART}/values.yaml": "# -- A value.\na: 1\n",
    "deployment/kubernetes/values.yaml": "a: 2\n",
    MANIFEST: (
        "# accelerapp 0.1.0 on Kubernetes without Helm\n---\n"
        "          image: ghcr.io/accelerapp/accelerapp:v0.1.0-production\n"
    ),
    "CHANGELOG.md": CHANGELOG,
    "README.md": (
        "# Small\n\ndocker run ghcr.io/o/accelerapp:v0.1.0-production\n"
        "docker run ghcr.io/o/accelerapp:v9.9.9-production\n"
    ),
    "LICENSE": "Do what you like.\n",
    ".gitignore": "/dist/\n",
}
IDENTITY = {
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "C", "GIT_COMMITTER_EMAIL": "c@example.org",
}  # fmt: skip
ALONE = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_DATE": "2026-11-29T12:00:00+00:00",
    "GIT_COMMITTER_DATE": "2026-11-29T12:00:00+00:00",
}
RENDERED = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: accelerapp}}
spec:
  template:
    spec:
      containers:
        - name: service
          image: ghcr.io/accelerapp/accelerapp:v{version}-production
"""


@dataclass
class Runs:
    """Runs git for real, plays helm, and fails where it is told to."""

    argvs: list[tuple[str, ...]] = field(default_factory=list)
    failing: Mapping[tuple[str, ...], BaseException | str] = field(default_factory=dict)
    """What a command that begins so does instead: an exception, or a failure with this reason."""
    late: bool = False
    """Whether it does that after it has run."""

    def __call__(self, argv: tuple[str, ...], **options: Any) -> Completed:
        self.argvs.append(argv)
        if argv[0].endswith("helm"):
            return self._helm(argv)
        how = next((f for start, f in self.failing.items() if argv[: len(start)] == start), None)
        if how is not None and self.late:
            run(argv, **options)
        if isinstance(how, BaseException):
            raise how
        if how is not None:
            return Completed(argv, 1, "", f"{how}\n")
        return run(argv, **options)

    def _helm(self, argv: tuple[str, ...]) -> Completed:
        if argv[1] == "version":
            return Completed(argv, 0, "v4.2.3+g43e8b7f\n", "")
        chart = Path(argv[3], "Chart.yaml").read_text()
        version = chart.partition('appVersion: "')[2].partition('"')[0]
        return Completed(argv, 0, RENDERED.format(version=version), "")


class SmallProject:
    """The repository, and what git says of it."""

    def __init__(self, root: Path, files: Mapping[str, str] = FILES) -> None:
        self.root = root
        for name, text in files.items():
            self.write(name, text)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("Everything")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def read(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ("git", *arguments),
            cwd=self.root,
            env={**os.environ, **ALONE, **IDENTITY},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def state(self) -> dict[str, str]:
        """Return all that a release may change: references, index, and each file's bytes."""
        found = {
            "head": self.git("symbolic-ref", "-q", "HEAD"),
            "refs": self.git("for-each-ref"),
            "index": self.git("ls-files", "--stage"),
            "status": self.git("status", "--porcelain"),
        }
        for path in sorted(self.root.rglob("*")):
            if path.is_file() and ".git" not in path.relative_to(self.root).parts:
                found[str(path)] = path.read_text(encoding="utf-8")
        return found


def nothing_more(root: Path, scratch: Path, doors: Doors) -> Sequence[Question]:
    """Ask nothing of the project beside git and its changelog."""
    return ()
