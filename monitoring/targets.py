"""What is asked in the background, one function each; whatever happens is a Finding."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from monitoring.addresses import RedisAddress
from monitoring.checks import DiskSpace, Finding, Ollama, Status, Threshold, judge_disk
from monitoring.fetch import FetchError, HttpAnswer

Fetch = Callable[[str, float, int], HttpAnswer]

# Ollama lists every model that it has, with details.
_LONGEST_LIST = 1024 * 1024
_LONGEST_ANSWER = 64 * 1024
OLDEST_PYTHON = (3, 11)


def ask_application(url: str, *, deadline_s: float, fetch: Fetch) -> Finding:
    """GET `url`: 200 and what its JSON says in "status"; everything else fails."""
    try:
        answer = fetch(url, deadline_s, _LONGEST_ANSWER)
    except FetchError as error:
        return Finding("fail", str(error))
    stated = _member(_parsed(answer.body), "status")
    status: Status = "pass" if stated in ("pass", "ok", "up") else "fail"
    output = f"answered {answer.status}"
    if answer.status != 200:
        status = "fail"
    elif stated in ("warn", "fail"):
        status = "warn" if stated == "warn" else "fail"
        output += f", {stated}"
    elif status == "fail":
        output += ", but not as /readyz of Accelerapp does"
    return Finding(status, output)


def ask_ollama(
    url: str,
    *,
    models: Sequence[str],
    deadline_s: float,
    fetch: Fetch,
    clock: Callable[[], float] = time.monotonic,
) -> Finding:
    """Ask for the version and the list of models, within one deadline.

    Fails without both answers, and when one of `models` is missing. A model's
    name without a tag means its tag `latest`, as in Ollama itself.
    """
    began_s = clock()
    try:
        version = _ask(f"{url}/api/version", deadline_s, fetch)
        left_s = deadline_s - (clock() - began_s)
        if left_s <= 0:
            raise FetchError(f"no answer within {deadline_s:g} s")
        tags = _ask(f"{url}/api/tags", left_s, fetch)
    except FetchError as error:
        reason = str(error)
        if reason.startswith("no answer within"):
            reason = f"no answer within {deadline_s:g} s"
        return Finding("fail", reason)
    said, listed = _member(version, "version"), _member(tags, "models")
    if not isinstance(said, str) or not isinstance(listed, list):
        return Finding("fail", "answered, but not as Ollama does")
    names = {str(_member(entry, "name")) for entry in listed}
    present = {model: _tagged(model) in names for model in models}
    # A label of a metric: nothing but a version gets there.
    shown = said if re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,39}", said) else ""
    found = Ollama(shown, len(listed), present)
    missing = [model for model, there in present.items() if not there]
    if missing:
        text = f"without {', '.join(missing)}: run 'ollama pull {missing[0]}' there"
        return Finding("fail", text, found=found)
    count = f"{len(listed)} model{'' if len(listed) == 1 else 's'}"
    return Finding("pass", f"version {shown}, {count}" if shown else count, found=found)


def ask_redis(
    address: RedisAddress, *, deadline_s: float, ping: Callable[[RedisAddress, float], None]
) -> Finding:
    """PING, after AUTH where there is a password."""
    try:
        ping(address, deadline_s)
    except FetchError as error:
        return Finding("fail", str(error))
    return Finding("pass", "answered PONG")


def ask_disk(
    path: str,
    *,
    warn: Threshold,
    fail: Threshold,
    read: Callable[[str], tuple[int, int]],
) -> Finding:
    """Bytes free and in all, by `read`, which may raise OSError."""
    try:
        free_bytes, size_bytes = read(path)
    except OSError as error:
        return Finding("fail", f"{path}: {error.strerror or str(error)}")
    return judge_disk(DiskSpace(path, free_bytes, size_bytes), warn=warn, fail=fail)


def ask_python(
    wanted: Mapping[str, str],
    *,
    version: tuple[int, ...] = sys.version_info[:3],
    installed: Callable[[str], str | None],
) -> Finding:
    """The interpreter is new enough, and each distribution is there in a version that it takes.

    `wanted` maps a distribution to the oldest version that will do.
    """
    python = ".".join(map(str, version[:3]))
    if version < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return Finding("fail", f"Python {python}; {oldest} or later is needed")
    shown = [f"Python {python}"]
    for name, oldest in wanted.items():
        found = installed(name)
        if found is None:
            return Finding("fail", f"{name} is not installed")
        if _numbers(found) < _numbers(oldest):
            return Finding("fail", f"{name} {found} is installed; {oldest} or later is needed")
        shown.append(f"{name} {found}")
    return Finding("pass", ", ".join(shown))


def _ask(url: str, deadline_s: float, fetch: Fetch) -> object:
    answer = fetch(url, deadline_s, _LONGEST_LIST)
    if answer.status != 200:
        raise FetchError(f"answered {answer.status}")
    return _parsed(answer.body)


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _member(document: object, name: str) -> object:
    return document.get(name) if isinstance(document, dict) else None


def _tagged(model: str) -> str:
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"[0-9]+", version)))
