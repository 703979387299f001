"""Commands of other people's programs in guides: which are known, and whether what they name is
there: files, targets, services, releases, deployments, ports, addresses.

Whether they have the flags is for the programs themselves to say, where they are: see
tests/docs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from pipeline.errors import nearest
from pipeline.guides.facts import COMPOSE, RELEASE, Facts

OURS = frozenset(("invoke", "nox", "accelerapp"))
FLAGS_ASKED = frozenset(("cosign", "docker", "helm", "kubectl", "skopeo", "trivy"))
"""Programs whose own parser is asked about flags, where they are."""
KNOWN = (
    OURS
    | FLAGS_ASKED
    | frozenset(
        (
            ".", "apt-get", "cat", "cd", "cmp", "cp", "ctr", "curl", "do", "done", "basename", "df",
            "export", "gh", "git", "gpg", "jq", "mkdir", "podman", "pip", "promtool", "python3",
            "redis-cli", "sha256sum", "ss", "syft",
        )
    )
)  # fmt: skip
# Top folders whose files a guide may name; dist/ is what commands write.
_FOLDERS = (
    ".ci", ".github", "benchmarks", "deployment", "monitoring", "mutants", "pipeline",
    "requirements", "src", "tests",
)  # fmt: skip
PATH = re.compile(rf"(?:\./)?((?:{'|'.join(map(re.escape, _FOLDERS))})/[\w./-]*[\w/])")
_COMPOSE_VALUES = frozenset(
    ("--env", "--index", "--since", "--tail", "--timeout", "--user", "--workdir", "-e", "-n", "-t",
     "-u", "-w")
)  # fmt: skip
"""Flags of `docker compose exec`, `logs` and so on that have a value."""
_LOOPBACK = ("127.0.0.1", "localhost")
_KINDS = {"deploy": "deployment", "svc": "service", "hpa": "horizontalpodautoscaler"}
_OBJECT = re.compile(
    r"(deployment|deploy|service|svc|configmap|networkpolicy|hpa|horizontalpodautoscaler)s?"
    r"(?:\.apps)?/([a-z0-9-]+)"
)


def wrong(words: Sequence[str], facts: Facts, forwarded: Mapping[int, int]) -> Iterator[str]:
    """Give each reason why a command cannot do what a guide says that it does.

    `forwarded` are ports of this machine that commands before it lead elsewhere.
    """
    program = words[0].rpartition("/")[2]
    if program not in KNOWN:
        hint = nearest(program, KNOWN)
        yield f"nobody knows the program {program}; {f'{hint} ' if hint else ''}known are " + (
            ", ".join(sorted(KNOWN))
        )
        return
    for word in words:
        if not (program == "kubectl" and _OBJECT.fullmatch(word)):
            yield from _paths(word, facts)
        yield from _address(word, facts, forwarded)
    match program:
        case "docker":
            yield from _docker(words, facts)
        case "kubectl":
            yield from _kubectl(words, facts)
        case "helm":
            yield from _helm(words, facts)


def forwards(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Give the ports that a command makes reachable here: this machine's, and where it leads."""
    if "port-forward" in words or ("docker" in words[:1] and "run" in words):
        for word in words[1:]:
            if found := re.fullmatch(r"(?:[\d.]+:)?(\d{2,5}):(\d{2,5})", word):
                yield int(found[1]), int(found[2])


def _paths(word: str, facts: Facts) -> Iterator[str]:
    value = word.rpartition("=")[2]
    if (found := PATH.fullmatch(value)) and not (facts.root / found[1]).exists():
        yield f"there is no {found[1]} in this repository"


def _address(word: str, facts: Facts, forwarded: Mapping[int, int]) -> Iterator[str]:
    if not word.startswith(("http://", "https://")):
        return
    address = urlsplit(word)
    if address.hostname not in _LOOPBACK:
        return
    port = address.port or 80
    served = facts.endpoints
    port = forwarded.get(port, port)
    if port not in served:
        yield f"nothing listens on port {port}; service and monitor do on " + " and ".join(
            map(str, sorted(served))
        )
    elif (address.path or "/") not in served[port]:
        yield f"port {port} answers no {address.path}; it does {', '.join(sorted(served[port]))}"


def _docker(words: Sequence[str], facts: Facts) -> Iterator[str]:
    targets = set(facts.settings.images)
    for word in words:
        found = re.fullmatch(r"accelerapp:([a-z]+)(?:-(?:amd64|arm64))?", word)
        if found and found[1] not in targets:
            yield f"there is no target {found[1]}; there are {', '.join(sorted(targets))}"
    for flag, value in _values(words, "--target"):
        if "build" in words and value not in targets:
            yield f"{flag} {value}: there is no such target"
    if "compose" not in words:
        return
    for _, value in _values(words, "--profile"):
        if value not in facts.profiles:
            yield f"there is no profile {value}; there are {', '.join(facts.profiles)}"
    for _, value in _values(words, "-f", "--file"):
        if not (facts.root / value).exists() and not (facts.root / COMPOSE / value).exists():
            yield f"there is no Compose file {value}"
    rest = list(words[list(words).index("compose") + 1 :])
    for verb in ("exec", "logs", "restart", "ps", "up", "stop", "pull"):
        if verb in rest:
            # `exec` has a command after the service; the others have services alone.
            named = list(_operands(rest[rest.index(verb) + 1 :]))
            for service in named[:1] if verb == "exec" else named:
                if service not in facts.compose:
                    known = ", ".join(facts.compose)
                    yield f"the stack has no service {service}; it has {known}"
            return


def _kubectl(words: Sequence[str], facts: Facts) -> Iterator[str]:
    command = words[: list(words).index("--")] if "--" in words else words
    for word in command:
        if found := _OBJECT.fullmatch(word):
            kind = _KINDS.get(found[1], found[1])
            known = facts.names(kind)
            if found[2] not in known:
                yield f"there is no {kind} {found[2]}; there are {', '.join(sorted(known))}"


def _helm(words: Sequence[str], facts: Facts) -> Iterator[str]:
    for verb in ("install", "upgrade", "test", "uninstall", "rollback", "history", "status", "get"):
        if verb in words:
            rest = list(words[list(words).index(verb) + 1 :])
            if verb == "get":
                rest = rest[1:]
            if rest and not rest[0].startswith(("-", "$")) and rest[0] != RELEASE:
                yield f"guides call the release {RELEASE}, not {rest[0]}"
            break
    for word in words:
        if word.startswith("oci://") and not word.endswith(f"/charts/{RELEASE}"):
            yield f"{word}: 'invoke push --chart' puts the chart at REGISTRY/charts/{RELEASE}"


def _operands(words: Sequence[str]) -> Iterator[str]:
    is_value = False
    for word in words:
        if not is_value and not word.startswith("-"):
            yield word
        is_value = word in _COMPOSE_VALUES


def _values(words: Sequence[str], *flags: str) -> Iterator[tuple[str, str]]:
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in flags:
            if equals:
                yield name, value
            elif number + 1 < len(words):
                yield name, words[number + 1]


def is_path(text: str) -> bool:
    """Whether inline code is the path of a file of this repository, without a placeholder."""
    return PATH.fullmatch(text) is not None and ".." not in PurePosixPath(text).parts
