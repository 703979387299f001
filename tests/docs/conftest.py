"""A copy of the repository in which the guides' commands are run, and what stands in for others:
a registry on loopback, an API server that plays a cluster, a service and a monitor."""

from __future__ import annotations

import os
import re
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
from tests.integration.building import commit_all, copy_repository, git
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

    def new_version(self) -> None:
        """Change the service's code, and bring the image of that to the colour that waits."""
        path = self.folder / "src" / "accelerapp" / "__main__.py"
        path.write_text(f"{path.read_text()}\n# Changed.\n")
        git(self.folder, "commit", "--all", "--quiet", "--message", "A change")
        self.run(("invoke", "build", "--platform", "all"))
        self.run(("invoke", "push", "--tag", "new-production"))
        values = ("--values", "production.yaml", "--image-from", "dist/images")
        self.run(("invoke", "deploy", *values))

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
                assert _answers(address, process), f"{' '.join(words)}: no answer at {address}"
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
        assert process.returncode == 0


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The copy, committed and released as v1.2.3, with all images built; a registry that has
    this release and the one before, signed; a service and a monitor that run."""
    folder = copy_repository(tmp_path_factory.mktemp("docs") / "checkout")
    # The version of a release is in its code, too: the image says it.
    for package in ("src/accelerapp", "monitoring"):
        code = folder / package / "__init__.py"
        code.write_text(re.sub(r'"\d+\.\d+\.\d+[^"]*"', '"1.2.3"', code.read_text()))
    commit_all(folder)
    git(folder, "tag", "v1.2.3")
    # Beside the files of the commit: none of these may make the checkout a changed one.
    (folder / ".git/info/exclude").write_text(
        "/production.yaml\n/device.yaml\n/cosign.*\n/out*\n*.tar\n"
    )
    (folder / "production.yaml").write_text(VALUES)
    home = tmp_path_factory.mktemp("home")
    environ = {
        **os.environ,
        "CI": "true",
        "HOME": str(home),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "PYTHONPATH": str(folder / "src"),
        "COSIGN_PASSWORD": "",
    }
    for name in ("ACCELERAPP_REGISTRY", "REGISTRY_USERNAME", "REGISTRY_PASSWORD"):
        environ.pop(name, None)
    ports = {"8000": str(free_port()), "8080": str(free_port())}
    with ExitStack() as stack:
        registry = ""
        if program := shutil.which("docker-registry"):
            storage = tmp_path_factory.mktemp("registry")
            registry = stack.enter_context(running_registry(Path(program), storage)).address
            environ["ACCELERAPP_REGISTRY"] = f"{registry}/owner"
        made = Place(folder, registry, ports, environ)
        made.run(("invoke", "build", "--target", "all", "--platform", "all"))
        if registry:
            for version in ("v1.2.2", "v1.2.3"):
                made.run(("invoke", "push", "--tag", f"{version}-production"))
        if registry and shutil.which("cosign"):
            made.run(("cosign", "generate-key-pair"))
            made.run(("invoke", "sign", f"{REGISTRY}/accelerapp:v1.2.3-production",
                      "--key", "cosign.key"))  # fmt: skip
        service = ("accelerapp", "serve", "--port", ports["8000"])
        stack.enter_context(
            made.serving(
                service,
                f"http://127.0.0.1:{ports['8000']}/livez",
                ACCELERAPP_OUTPUT_DIR=str(home / "output"),
            )
        )
        made.environ["ACCELERAPP_URL"] = f"http://127.0.0.1:{ports['8000']}"
        monitor = (sys.executable, "-m", "monitoring.monitor")
        stack.enter_context(
            made.serving(
                monitor,
                f"http://127.0.0.1:{ports['8080']}/livez",
                MONITOR_PORT=ports["8080"],
            )
        )
        made.run(("accelerapp", "new"), stdout=folder / "device.yaml")
        yield made


@pytest.fixture(scope="session")
def cluster(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that the commands of the guides find by KUBECONFIG."""
    with running_cluster() as cluster:
        kubeconfig = cluster.write_kubeconfig(tmp_path_factory.mktemp("cluster") / "kubeconfig")
        place.environ["KUBECONFIG"] = str(kubeconfig)
        cluster.add_namespace("accelerapp")
        yield cluster


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
