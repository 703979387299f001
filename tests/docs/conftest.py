"""A copy of the repository in which the guides' commands are run, and what stands in for others:
a registry on loopback, an API server that plays a cluster, a service and a monitor."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.docs.classes import REGISTRY
from tests.integration.building import ROOT, commit_all, copy_repository, git
from tests.integration.registry import free_port, running_registry
from tests.standins.kubernetes import Cluster, running_cluster

TIMEOUT_S = 600.0
VALUES = "blueGreen: {enabled: true, colour: blue}\n"


@dataclass
class Place:
    """The copy, and what its commands see instead of other machines."""

    folder: Path
    registry: str
    ports: Mapping[str, str]
    environ: dict[str, str] = field(default_factory=dict)

    def words(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """Return a command with the stand-ins in it."""
        replaced = []
        for word in words:
            text = word.replace(REGISTRY, f"{self.registry}/owner")
            for port, other in self.ports.items():
                text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{other}")
            replaced.append(text)
        if replaced[0] == "accelerapp":
            replaced[:1] = [sys.executable, "-m", "accelerapp"]
        return tuple(replaced)

    def run(self, words: tuple[str, ...], *, stdout: Path | None = None) -> str:
        """Run a command, which must succeed; return all that it printed."""
        done = subprocess.run(
            self.words(words),
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"exit code {done.returncode}: {done.stdout[-3000:]}"
        if stdout is not None:
            stdout.write_text(done.stdout)
        return done.stdout

    @contextmanager
    def serving(self, words: tuple[str, ...], address: str, **environ: str) -> Iterator[None]:
        """Run a command that serves until it is stopped; it must end well then."""
        with subprocess.Popen(
            self.words(words),
            cwd=self.folder,
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                answered = _answers(address, process)
            finally:
                process.send_signal(signal.SIGTERM)
            if answered:
                yield
        assert answered, f"{' '.join(words)} does not answer at {address}"
        assert process.returncode in (0, -signal.SIGTERM)


def _answers(address: str, process: subprocess.Popen[str]) -> bool:
    for _ in range(200):
        if process.poll() is not None:
            return False
        try:
            with urllib.request.urlopen(address, timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            time.sleep(0.1)
    return False
