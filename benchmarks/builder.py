"""The builder under test: the real command, in a clone, with a cache of its own."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.platforms import Platform

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Builder:
    """A copy of the tracked files, and the cache that its builds use."""

    tree: Path
    cache: Path
    changes: int = 0

    @classmethod
    @contextlib.contextmanager
    def temporary(cls) -> Iterator[Builder]:
        """Yield a builder with downloads cached, removed afterwards."""
        with tempfile.TemporaryDirectory() as name:
            tree = Path(name) / "tree"
            subprocess.run(("git", "clone", "--quiet", str(ROOT), str(tree)), check=True)
            builder = cls(tree, Path(name) / "cache")
            builder.build_all()
            yield builder

    def invoke(self, *arguments: str) -> str:
        """Run the command as a user would; return what it prints."""
        done = subprocess.run(
            (sys.executable, "-m", "invoke", *arguments),
            cwd=self.tree,
            env={**os.environ, "ACCELERAPP_BUILD_CACHE": str(self.cache)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"invoke {' '.join(arguments)} failed:\n{done.stderr}")
        return done.stdout

    def build(self, platform: Platform) -> None:
        """Build production for one platform."""
        self.invoke("build", "--platform", platform.architecture)

    def build_all(self) -> None:
        """Build production for every platform."""
        self.invoke("build", "--platform", "all")

    def forget_nothing(self) -> None:
        """Leave the cache as it is."""

    def forget_layers(self) -> None:
        """Forget every layer, wheel and output; downloads stay."""
        for kind in ("layers", "checked"):
            shutil.rmtree(self.cache / "records" / kind, ignore_errors=True)
        shutil.rmtree(self.tree / "dist", ignore_errors=True)

    def change_application(self) -> None:
        """Change one of the application's files."""
        self.changes += 1
        with (self.tree / "src" / "accelerapp" / "about.py").open("a", encoding="utf-8") as file:
            file.write(f"# change {self.changes}\n")

    def report(self) -> Any:
        """Return the JSON report of a build of every platform."""
        return json.loads(self.invoke("build", "--platform", "all", "--json"))

    def sizes(self) -> list[tuple[str, str, str]]:
        """Return platform, compressed and unpacked size of the production image."""
        return [
            (
                part["platform"],
                f"{part['size_bytes'] / 1e6:.1f} MB",
                f"{part['unpacked_bytes'] / 1e6:.1f} MB",
            )
            for part in self.report()["images"][0]["platforms"]
        ]

    def memory_of(self, *arguments: str) -> str:
        """Return the largest resident set of one command."""
        code = (
            "import resource, subprocess, sys;"
            "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL,"
            " stderr=subprocess.DEVNULL);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        done = subprocess.run(
            (sys.executable, "-c", code, sys.executable, "-m", "invoke", *arguments),
            cwd=self.tree,
            env={**os.environ, "ACCELERAPP_BUILD_CACHE": str(self.cache)},
            capture_output=True,
            text=True,
            check=True,
        )
        return f"{int(done.stdout) / 1024:.0f} MiB"

    @staticmethod
    def peak_memory() -> str:
        """Return the largest resident set of any process that was run so far."""
        kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        return f"{kilobytes / 1024:.0f} MiB"
