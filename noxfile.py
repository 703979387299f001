"""Sessions: every check of this repository in an environment of its own.

`nox -s tests` needs nothing but Python; `nox -s docker` needs a container engine,
which `.ci/host.sh up` starts on a bare Debian machine.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from pipeline.sources.requirements import index_environment  # noqa: E402

nox.needs_version = ">=2026.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests", "lint", "types"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
INFRASTRUCTURE = "tests/test_deployment_infrastructure.py"
UNIT = ["tests/unit", INFRASTRUCTURE]


def install(session: nox.Session, lock: str) -> None:
    """Install a lock, with its hashes, from the indexes that pip is configured with."""
    session.env.update(index_environment())
    session.install("-r", str(ROOT / "requirements" / lock))


@nox.session(tags=["check"])
def tests(session: nox.Session) -> None:
    """Unit tests, and those of the deployment: offline, no engine, no root."""
    install(session, "test.txt")
    session.run("pytest", *(session.posargs or UNIT))


@nox.session(python=PYTHONS)
def compat(session: nox.Session) -> None:
    """The same on every supported Python that this machine has."""
    install(session, "test.txt")
    session.run("pytest", *(session.posargs or UNIT))


@nox.session(tags=["check"])
def lint(session: nox.Session) -> None:
    """Style, shell scripts, Dockerfiles, workflows; lock and rendered files are current."""
    install(session, "lint.txt")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    # All of it that needs no database.
    parts = ("source", "shell", "dockerfiles", "workflows", "licences")
    session.run("invoke", "audit", "--severity", "LOW", "--only", ",".join(parts))
    session.run("invoke", "lock", "--check")
    session.run("invoke", "dockerfile", "--check")
    session.run("invoke", "ci.check")


@nox.session(tags=["check"])
def docs(session: nox.Session) -> None:
    """The guides: what they say is so, and their commands do what they say when they are run."""
    install(session, "docker.txt")
    session.run("invoke", "docs", "--check")
    session.run("pytest", *(session.posargs or ["tests/docs"]))


@nox.session(tags=["check"])
def types(session: nox.Session) -> None:
    """mypy --strict over the application, the monitor and the pipeline."""
    install(session, "lint.txt")
    session.run("mypy")


@nox.session(tags=["check"])
def fuzz(session: nox.Session) -> None:
    """Requests made up from the service's OpenAPI document: every answer is one it describes."""
    install(session, "fuzz.txt")
    session.run("pytest", *(session.posargs or ["tests/fuzz"]))


@nox.session(tags=["check"])
def chart(session: nox.Session) -> None:
    """The Helm chart: what it renders, what it refuses, and what other tools say to it."""
    install(session, "chart.txt")
    session.run("pytest", *(session.posargs or ["tests/chart", INFRASTRUCTURE]))


@nox.session(tags=["engine"])
def docker(session: nox.Session) -> None:
    """The built images in a real engine, and in the tools that read them."""
    install(session, "docker.txt")
    session.run("pytest", *(session.posargs or ["tests/integration", "-m", "not slow"]))


@nox.session(tags=["engine"])
def reproducible(session: nox.Session) -> None:
    """The whole matrix: one digest over everything about a machine that may vary."""
    install(session, "docker.txt")
    session.run("pytest", "tests/integration/test_reproducible.py", "-s", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Ratios of paired runs: against the floor, BuildKit, other monitors, where there are any.

    `compare --base REF` is this commit against the one that it is based on.
    """
    if session.posargs[:1] == ["compare"]:
        # Of this project alone: neither an engine nor what others have made is needed.
        install(session, "test.txt")
        # After Ctrl-C it removes what it has checked out, for which nox has no patience itself.
        patience_s = 30.0
        session.run(
            *("python", "-m", "benchmarks", *session.posargs),
            interrupt_timeout=patience_s,
            terminate_timeout=patience_s,
        )
        return
    try:
        install(session, "bench.txt")
    except CommandFailed:
        # Glances has needs of its own; what can be measured without it still is.
        session.warn("not installed: requirements/bench.txt. Glances is not measured")
        install(session, "docker.txt")
    session.run("python", "-m", "benchmarks", *session.posargs, env=dict(os.environ))


@nox.session
def mutants(session: nox.Session) -> None:
    """What tests do not notice: files of six kinds are spoiled, one place at a time."""
    install(session, "chart.txt")
    session.run("python", "-m", "mutants", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """The monitor or the service under load for ten minutes: memory and threads stay flat."""
    install(session, "test.txt")
    session.run("python", "-m", "benchmarks.soak", *session.posargs)
