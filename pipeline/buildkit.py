"""BuildKit as docker's client drives it: which way there is, its command line, its progress.

Three ways lead to an image that can be taken apart: a builder of buildx that writes an OCI
archive, buildx in front of the engine's own BuildKit, and the client of Docker Engine 20.10
without buildx.  The last two leave the image in the engine, which exports it.
"""

from __future__ import annotations

import contextlib
import enum
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

from pipeline.errors import EngineUnavailable, EngineUnsuitable, ToolMissing
from pipeline.platforms import Platform
from pipeline.process import Completed, Runner, run
from pipeline.report import Progress, Step

PROXY_VARIABLES = (
    "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY",
    "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy",
)  # fmt: skip
"""Docker's predefined build arguments: no ARG needed, and no trace in the image's history."""

_DOCKER = "docker"
_DAEMONLESS = "'--engine daemonless' needs no Docker"
_TITLE_LENGTH = 76


class Way(enum.Enum):
    """How an image is built, and where it is when that is done."""

    EXPORT = "export"
    """buildx with a builder of its own: an OCI archive at `dest`."""
    LOAD = "load"
    """buildx with the engine's BuildKit: an image in the engine."""
    CLASSIC = "classic"
    """The client of Engine 20.10, told to use the engine's BuildKit: likewise."""


@dataclass(frozen=True, slots=True)
class Builder:
    """What builds."""

    way: Way
    name: str = ""
    """buildx's name for it; empty is the current one."""
    platforms: tuple[str, ...] = ()
    """What it says that it can build for, `linux/arm64`; empty when it does not say."""
    attestations: bool = False
    """Whether buildx has flags to leave out attestations."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What the client must find in its environment."""
        return {"DOCKER_BUILDKIT": "1"} if self.way is Way.CLASSIC else {}


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """One image to build: a stage of a Dockerfile, for one platform."""

    dockerfile: Path
    """`<name>.dockerignore` beside it goes before the context's own."""
    context: Path
    target: str
    platform: Platform
    labels: Mapping[str, str] = field(default_factory=dict)
    build_args: Mapping[str, str | None] = field(default_factory=dict)
    """With None the client takes the value from its environment, so that nobody reads it."""
    secrets: Mapping[str, Path] = field(default_factory=dict)


def find_builder(name: str | None, runner: Runner = run) -> Builder:
    """Return what builds: the builder called `name`, or what docker would use.

    Raises `EngineUnavailable` without a client or for a builder that does not exist, and
    `ToolMissing` when buildx is needed and not there.
    """
    try:
        client = runner((_DOCKER, "--version"))
    except ToolMissing:
        raise EngineUnavailable(
            "there is no docker on PATH to build with", hint=f"install it; {_DAEMONLESS}"
        ) from None
    buildx = runner((_DOCKER, "buildx", "version"))
    if not buildx.ok:
        return _without_buildx(name, client)
    inspected = runner((_DOCKER, "buildx", "inspect", *((name,) if name else ())))
    if not inspected.ok:
        raise EngineUnavailable(
            f"buildx cannot use builder '{name}': {_reason(inspected)}"
            if name
            else f"buildx has no builder: {_reason(inspected)}",
            hint="see 'docker buildx ls'",
        )
    driver = re.search(r"^Driver:[ \t]*(\S+)", inspected.stdout, re.MULTILINE)
    platforms = re.findall(r"^Platforms:[ \t]*(.+)", inspected.stdout, re.MULTILINE)
    spelled = (part.strip(" *") for line in platforms for part in line.split(","))
    return Builder(
        # An engine that does not answer has no driver; whoever needs it will notice.
        way=Way.LOAD if driver is None or driver[1] == "docker" else Way.EXPORT,
        name=name or "",
        platforms=tuple(dict.fromkeys(part for part in spelled if part)),
        attestations=_version(buildx.stdout) >= (0, 10),
    )


def _without_buildx(name: str | None, client: Completed) -> Builder:
    advice = "install buildx (Debian: docker-buildx, elsewhere docker-buildx-plugin)"
    if name:
        raise ToolMissing(
            f"'--builder {name}' needs buildx, which docker does not have", hint=advice
        )
    if _version(client.stdout) >= (23, 0):
        # From there on the client has no way to BuildKit of its own.
        raise ToolMissing(
            "docker cannot build: its BuildKit client, buildx, is not installed", hint=advice
        )
    return Builder(Way.CLASSIC)


def _version(text: str) -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _reason(done: Completed) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return re.sub(r"^error: ", "", lines[-1], flags=re.IGNORECASE) if lines else "no answer"


def check_platform(builder: Builder, platform: Platform) -> None:
    """Raise `EngineUnsuitable` when the builder says that it cannot build for `platform`."""
    listed = {re.sub(r"/v8$", "", text) for text in builder.platforms}
    if listed and str(platform) not in listed:
        name = f"builder '{builder.name}'" if builder.name else "Docker's builder"
        raise EngineUnsuitable(
            f"{name} cannot build for {platform}: it has {', '.join(sorted(listed))}",
            hint=f"install emulation on its machine (qemu-user-static); {_DAEMONLESS}",
        )


def build_argv(builder: Builder, order: BuildOrder, destination: str) -> tuple[str, ...]:
    """Return the command that builds.

    `destination` is the path of the OCI archive to write (`Way.EXPORT`), or the tag that the
    image gets in the engine.
    """
    if builder.way is Way.CLASSIC:
        head = [_DOCKER, "build"]
    else:
        head = [_DOCKER, "buildx", "build", *(("--builder", builder.name) if builder.name else ())]
    if builder.attestations:
        head += ["--provenance=false", "--sbom=false"]
    parts = [
        *head,
        "--progress", "plain",
        "--platform", str(order.platform),
        "--file", str(order.dockerfile),
        "--target", order.target,
    ]  # fmt: skip
    for label, value in order.labels.items():
        parts += ["--label", f"{label}={value}"]
    for argument, given in order.build_args.items():
        parts += ["--build-arg", argument if given is None else f"{argument}={given}"]
    for secret, path in order.secrets.items():
        parts += ["--secret", f"id={secret},src={path}"]
    if builder.way is Way.EXPORT:
        # Whatever compressed the base's layers, we can read gzip.
        parts += [
            "--output",
            f"type=oci,dest={destination},compression=gzip,force-compression=true",
        ]
    else:
        parts += [*(("--load",) if builder.way is Way.LOAD else ()), "--tag", destination]
    return (*parts, str(order.context))


class Redactor:
    """Replaces known secrets in text."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        # The longest first: one may be part of another.
        self._secrets = sorted({text for text in secrets if text}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return `text` with `***` for every secret in it."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"


def secrets_of(urls: Sequence[str]) -> tuple[str, ...]:
    """Return what must not be shown of URLs: passwords, and names that stand alone (tokens)."""
    found: list[str] = []
    for url in urls:
        user_info, at, _ = urlsplit(url if "://" in url else f"//{url}").netloc.rpartition("@")
        user, _, password = user_info.partition(":")
        if at:
            secret = password or user
            found += [secret, unquote(secret)]
    return tuple(dict.fromkeys(found))


@dataclass(slots=True)
class _Vertex:
    """A step of a build, as far as its output has told."""

    title: str = ""
    last_line: str = ""
    step: Step | None = None
    open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a build failed, in the words of its output."""

    where: str
    """`[build 3/7] RUN make`; empty when no step failed."""
    exit_code: int | None
    last_line: str


class PlainProgress:
    """Follows `--progress plain`, and shows its steps as ours; use as a context manager."""

    def __init__(self, progress: Progress, prefix: str, redact: Callable[[str], str]) -> None:
        """Show steps with `prefix` before their titles, and nothing that `redact` removes."""
        self._progress = progress
        self._prefix = prefix
        self._redact = redact
        self._vertices: dict[str, _Vertex] = {}
        self._failed: tuple[_Vertex, str] | None = None
        self._last_line = ""

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for vertex in self._vertices.values():
            vertex.open.close()

    def line(self, text: str) -> None:
        """Take one line of output."""
        found = re.match(r"#(\d+) (?:\d+\.\d+ )?(.*)", text)
        if found is None:
            if meaning := _meaning(text):
                self._last_line = meaning
            return
        vertex = self._vertices.setdefault(found[1], _Vertex())
        rest = found[2].strip()
        if re.match(rf"#{found[1]} \d+\.\d+ ", text):
            vertex.last_line = _meaning(rest) or vertex.last_line
        elif done := re.match(r"(DONE|CACHED|ERROR|CANCELED)\b:? ?(.*)", rest):
            if done[1] == "ERROR" and self._failed is None:
                self._failed = (vertex, done[2])
            if vertex.step is not None and done[1] != "DONE":
                vertex.step.note(done[1].lower())
            vertex.open.close()
            vertex.step = None
        elif not vertex.title:
            vertex.title = rest
            self._begin(vertex)

    def _begin(self, vertex: _Vertex) -> None:
        if not vertex.title.startswith("[") or vertex.title.startswith("[internal]"):
            return
        title = self._redact(f"{self._prefix}: {vertex.title}")
        if len(title) > _TITLE_LENGTH:
            title = f"{title[: _TITLE_LENGTH - 1]}…"
        vertex.step = vertex.open.enter_context(self._progress.step(title))

    def failure(self) -> Failure:
        """Return why the build failed, once it has."""
        if self._failed is None:
            return Failure("", None, self._redact(self._last_line))
        vertex, problem = self._failed
        code = re.search(r"exit code: (\d+)", problem)
        last = vertex.last_line or ("" if code else problem)
        title = " ".join(vertex.title.split())
        if len(title) > 2 * _TITLE_LENGTH:
            title = f"{title[: 2 * _TITLE_LENGTH - 1]}…"
        return Failure(self._redact(title), int(code[1]) if code else None, self._redact(last))


def _meaning(line: str) -> str:
    """Return a line without what carries none: colours, rulers, quotations."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line).strip()
    return "" if re.fullmatch(r"[-=>\s]*", text) else text
