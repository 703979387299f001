"""What the guides tell people to type."""

from __future__ import annotations

import re
import shlex

import tasks
from tests.infrastructure.repository import text_of

GUIDES = (
    "README.md",
    "DEPLOYMENT.md",
    "monitoring/README.md",
    "deployment/helm/accelerapp/README.md",
)
PROGRAMS = {
    *("python3", "pip", "docker", "helm", "kubectl", "trivy", "syft", "skopeo", "cosign", "curl"),
    *("invoke", "nox", "accelerapp", "promtool", "oras", "openssl", "git", "gh", "sha256sum"),
}


def commands_of(guide: str) -> list[list[str]]:
    """Return the words of each command that a guide's console shows, with what continues it."""
    text = text_of(guide)
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for command in re.findall(r"^\$ ((?:.*\\\n)*.*)$", block, re.MULTILINE):
            for part in re.split(r" && | \| ", command.replace("\\\n", " ")):
                words = shlex.split(part, comments=True)
                if words:
                    found.append(words)
    return found


def task_exists(name: str) -> bool:
    """Whether `invoke NAME` runs something: a task, or the default one of a collection."""
    try:
        return tasks.namespace[name] is not None
    except (KeyError, ValueError):
        return False


def task_and_flags(words: list[str]) -> tuple[str, list[str]]:
    """Return the task of `invoke …` and the flags that it is given."""
    return words[1], [word.partition("=")[0] for word in words[2:] if word.startswith("--")]
