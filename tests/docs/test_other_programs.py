"""Flags of other people's programs in the guides, asked of the programs themselves.

`--help` among the flags of a command makes each of these programs parse them, refuse one that it
does not have, and do nothing: `helm upgrade --help --no-such-flag` fails.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

import pytest

from pipeline.guides import programs
from tests.docs.test_commands import COMMANDS
from tests.integration.conftest import absent

ASKED = sorted(
    {shown.command.words for shown in COMMANDS if shown.command.program() in programs.FLAGS_ASKED}
)


def with_help(words: Sequence[str]) -> tuple[str, ...]:
    """Return a command that explains itself. What a container runs is not the program's."""
    own = list(words)
    for end in ("--", "exec", "run"):
        if end in own[:6]:
            at = own.index(end)
            flags = own[at + 1 :] if end != "--" else []
            own = [*own[: at + (end != "--")], "--help"]
            # Flags come before the image, or the service; values that they have stay with them.
            while flags and flags[0].startswith("-"):
                own += flags[:2] if len(flags) > 1 and not flags[1].startswith("-") else flags[:1]
                flags = flags[2:] if len(flags) > 1 and not flags[1].startswith("-") else flags[1:]
            return tuple(own)
    return (*own, "--help")


def parsed(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        with_help(words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def need(program: str, command: str) -> None:
    if shutil.which(program) is None:
        absent(program, unchecked=f"flags of: {command}", reason="not on PATH")
    if program == "docker" and "compose" in command:
        done = subprocess.run(
            ("docker", "compose", "version"), capture_output=True, check=False, timeout=60
        )
        if done.returncode:
            absent("docker compose", unchecked=f"flags of: {command}", reason="no plugin")


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
def test_a_program_has_the_flags_that_guides_give_it(words: tuple[str, ...]) -> None:
    need(words[0], " ".join(words))
    done = parsed(words)
    assert done.returncode == 0, done.stderr[-500:]
    assert "sage:" in done.stdout + done.stderr or "USAGE" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        "helm install accelerapp --namespace devices --atomc",
        "kubectl --namespace devices logs deployment/accelerapp --tial 5",
        "kubectl --namespac devices exec deployment/accelerapp -- ls",
        "docker run --readonly accelerapp:production",
        "docker build --targe production .",
        "docker compose exec --usr 0 redis redis-cli",
        "trivy image --inputs x",
        "skopeo copy --alll a b",
        "cosign generate-key-pair --outputs x",
    ],
)
def test_a_flag_that_it_does_not_have_is_refused(command: str) -> None:
    words = tuple(command.split())
    need(words[0], command)
    done = parsed(words)
    assert done.returncode != 0
    assert "unknown" in (done.stderr + done.stdout).lower()


def test_every_program_that_is_asked_is_in_a_guide() -> None:
    assert {words[0] for words in ASKED} == programs.FLAGS_ASKED
