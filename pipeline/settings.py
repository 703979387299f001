"""`deployment/images.toml` as frozen dataclasses: the one description of the images.

Everything is checked here, once: an unknown key is refused by name, with the
nearest known one, before anything is downloaded or written.
"""

from __future__ import annotations

import difflib
import posixpath
import re
import signal
import string
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import (
    SettingsInvalid,
    SettingsUnreadable,
    UnknownTarget,
    UnsupportedPlatform,
    nearest,
)
from pipeline.platforms import Platform

SCHEMA = 1
DESCRIPTION = Path("deployment/images.toml")
LOCK = Path("deployment/images.lock")
DOCKERFILE = "deployment/docker/Dockerfile"

# What a repository, a tag and a folder can be called (Docker's reference grammar).
_NAME = r"[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*"
_NAME_MEANING = "lower-case letters and digits, with '.', '_' or '-' between them"
# A reference that always means the same bytes; the tag is what people and update bots read.
_PINNED_IMAGE = (
    rf"(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?{_NAME}(?:/{_NAME})*"
    r":[A-Za-z0-9_][A-Za-z0-9._-]{0,127}@sha256:[0-9a-f]{64}"
)
# Dockerfile instructions that lines of one's own may hold.  What is missing has a key here.
_FINAL_INSTRUCTIONS = ("ADD", "ARG", "COPY", "RUN", "SHELL")
_BUILD_INSTRUCTIONS = ("ADD", "ARG", "COPY", "ENV", "RUN", "SHELL", "WORKDIR")
_KEYS_OF_INSTRUCTIONS = {
    "CMD": "command",
    "ENTRYPOINT": "entrypoint",
    "ENV": "environment",
    "EXPOSE": "ports",
    "FROM": "from",
    "HEALTHCHECK": "healthcheck",
    "LABEL": "labels",
    "STOPSIGNAL": "stop-signal",
    "USER": "user",
    "VOLUME": "volumes",
    "WORKDIR": "workdir",
}


@dataclass(frozen=True, slots=True)
class Suite:
    """A Debian release by its codename, and the Python that it carries."""

    name: str
    python: str
    """Minor version: `3.11`."""
    glibc: tuple[int, int]
    """What wheels may ask for: `(2, 36)`."""
    image: str | None = None
    """The image that its Dockerfiles start from, with tag and digest."""
    interpreter: str = "/usr/bin/python3"
    """What console scripts start with; another where a base image has it elsewhere."""
    packages_folder: str = ""
    """Where a base image's python looks for packages; empty for Debian's own."""

    @property
    def site_packages(self) -> str:
        """Where python looks for what is installed beside it (relative path)."""
        return self.packages_folder or f"usr/local/lib/python{self.python}/dist-packages"


@dataclass(frozen=True, slots=True)
class File:
    """A file or folder of the repository, copied into the image."""

    source: str
    path: str
    mode: int | None = None
    """None keeps what the source has: 0755 if executable, else 0644."""
    owned: bool = False
    """Whether it belongs to the image's user rather than to root."""


@dataclass(frozen=True, slots=True)
class User:
    """The account that the image's process runs as."""

    name: str = "root"
    uid: int = 0
    gid: int = 0
    home: str = "/root"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A command that asks the running service; durations in seconds (Docker's HEALTHCHECK)."""

    test: tuple[str, ...]
    interval_s: float = 30.0
    timeout_s: float = 5.0
    start_period_s: float = 5.0
    retries: int = 3


@dataclass(frozen=True, slots=True)
class Image:
    """One image as described, before its base is merged in."""

    name: str
    description: str = ""
    base: str | None = None
    """The name of another image here, or a reference to one in a registry."""
    packages: tuple[str, ...] = ()
    omit: tuple[str, ...] = ()
    """Debian packages that are depended on and deliberately left out."""
    exclude: tuple[str, ...] = ()
    """Globs of paths that are left out of Debian packages."""
    requirements: str | None = None
    """A hashed requirements file, relative to the repository."""
    project: bool = False
    """Whether the project's own wheel is part of the image."""
    files: tuple[File, ...] = ()
    directories: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    user: User | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    healthcheck: HealthCheck | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str | None = None
    bytecode: bool = True
    dockerfile: str = DOCKERFILE
    """The Dockerfile with its stage, relative to the repository."""
    docker_lines: tuple[str, ...] = ()
    """Dockerfile lines for its stage, run as root after everything else is in place."""
    docker_build_lines: tuple[str, ...] = ()
    """Dockerfile lines for the stage that installs its dependencies, run as root before."""

    @property
    def needs_docker(self) -> bool:
        """Whether it has lines that an engine must run; see `Settings.needs_docker`."""
        return bool(self.docker_lines or self.docker_build_lines)


@dataclass(frozen=True, slots=True)
class Docker:
    """What Dockerfiles need and no image keeps."""

    build_packages: tuple[str, ...] = ()
    """Debian packages of the stage that installs wheels: pip."""
    project_files: tuple[str, ...] = ()
    """The files and folders that the project's build back end reads."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole description. `root` is the repository that relative paths start from."""

    root: Path
    name: str
    default_suite: str
    platforms: tuple[Platform, ...]
    suites: Mapping[str, Suite]
    images: Mapping[str, Image]
    labels: Mapping[str, str]
    path: Path
    """The file it was read from, for messages."""
    docker: Docker = Docker()

    def suite(self, name: str | None = None) -> Suite:
        """Return the suite called `name`, the default one when None."""
        wanted = name or self.default_suite
        if wanted not in self.suites:
            raise SettingsInvalid(
                f"suite '{wanted}' is not described in {self.path}",
                hint=_choose(wanted, self.suites),
            )
        return self.suites[wanted]

    def image(self, name: str) -> Image:
        """Return the image called `name`; raises `UnknownTarget` with the nearest."""
        if name not in self.images:
            raise UnknownTarget(
                f"target '{name}' is not described in {self.path}",
                hint=_choose(name, self.images),
            )
        return self.images[name]

    def chain(self, name: str) -> tuple[Image, ...]:
        """Return the image and those it is built on, the lowest first.

        The lowest may itself be based on an image from a registry; see `registry_base`.
        """
        chain = [self.image(name)]
        while (base := chain[0].base) is not None and base in self.images:
            if any(image.name == base for image in chain):
                raise SettingsInvalid(
                    f"{self.path}: images.{base} is based on itself",
                    hint="remove one 'from'",
                )
            chain.insert(0, self.images[base])
        return tuple(chain)

    def needs_docker(self, name: str) -> bool:
        """Return whether the image, or one below it, has lines that an engine must run."""
        return any(image.needs_docker for image in self.chain(name))

    def filled(self, suite: Suite) -> Settings:
        """Return the description with `{python}` and `{suite}` filled in everywhere."""
        images = {name: _filled(image, suite) for name, image in self.images.items()}
        return replace(
            self,
            images=images,
            labels=_filled(self.labels, suite),
            docker=_filled(self.docker, suite),
        )

    def registry_base(self, name: str) -> str | None:
        """Return the image from a registry that `name` stands on, None when there is none."""
        return self.chain(name)[0].base

    def merged(self, name: str) -> Image:
        """Return the image's runtime configuration with everything it inherits.

        What fills layers (packages, files, …) stays with the image that names it.
        """
        merged = Image(name=name)
        for image in self.chain(name):
            merged = replace(
                image,
                base=None,
                user=image.user or merged.user,
                environment={**merged.environment, **image.environment},
                workdir=image.workdir or merged.workdir,
                ports=tuple(dict.fromkeys(merged.ports + image.ports)),
                volumes=tuple(dict.fromkeys(merged.volumes + image.volumes)),
                entrypoint=merged.entrypoint if image.entrypoint is None else image.entrypoint,
                command=merged.command if image.command is None else image.command,
                healthcheck=image.healthcheck or merged.healthcheck,
                labels={**merged.labels, **image.labels},
                stop_signal=image.stop_signal or merged.stop_signal,
            )
        return merged


def read_settings(root: Path, path: Path | None = None) -> Settings:
    """Read the description of the repository at `root`.

    Raises `SettingsUnreadable` when the file is missing or is not TOML, and
    `SettingsInvalid` for a key or value that cannot be used.
    """
    file = path or root / DESCRIPTION
    shown = _shown(file, root)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsUnreadable(
            f"{shown} does not exist", hint="run this in a repository that describes its images"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsUnreadable(
            f"{shown} cannot be read ({error})", hint="it must be a UTF-8 text file"
        ) from None
    return parse_settings(text, root=root, path=shown)


def parse_settings(text: str, *, root: Path, path: Path) -> Settings:
    """Parse the text of a description; see `read_settings`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsUnreadable(
            f"{path} is not TOML: {error}", hint="correct the file at that place"
        ) from None
    table = _Table(document, path, "")
    schema = table.integer("schema")
    if schema != SCHEMA:
        raise table.wrong("schema", f"{schema} is not known", f"this version reads {SCHEMA}")
    name = table.matching("name", _NAME, _NAME_MEANING)
    platforms = _platforms(table)
    suites = {key: _suite(key, part) for key, part in table.tables("suites")}
    default_suite = table.text("default-suite")
    if default_suite not in suites:
        raise table.wrong(
            "default-suite", f"'{default_suite}' is not described", _choose(default_suite, suites)
        )
    images = {key: _image(key, part) for key, part in table.tables("images")}
    labels = table.mapping("labels")
    docker = Docker()
    for part in table.optional_table("docker"):
        docker = Docker(
            build_packages=part.strings("build-packages", default=()),
            project_files=part.relatives("project-files"),
        )
        part.finish()
    table.finish()
    for image in images.values():
        base = image.base
        if base is not None and base not in images and not re.search(r"[:/@]", base):
            raise SettingsInvalid(
                f"{path}: images.{image.name}.from names '{base}', which is not described",
                hint=_choose(base, images),
            )
    _refuse_packages_on_registry_bases(images, path)
    return Settings(
        root=root,
        name=name,
        default_suite=default_suite,
        platforms=platforms,
        suites=suites,
        images=images,
        labels=labels,
        path=path,
        docker=docker,
    )


def _refuse_packages_on_registry_bases(images: Mapping[str, Image], path: Path) -> None:
    for image in images.values():
        lowest, seen = image, {image.name}
        while (base := lowest.base) is not None and base in images and base not in seen:
            lowest = images[base]
            seen.add(base)
        if image.packages and lowest.base is not None and lowest.base not in images:
            raise SettingsInvalid(
                f"{path}: images.{image.name}.packages: Debian packages cannot be added to "
                f"'{lowest.base}', whose own packages nobody resolved",
                hint="install them with a line in 'docker-lines', or describe the base with "
                "packages",
            )


def fill_in(text: str, suite: Suite) -> str:
    """Replace `{python}` and `{suite}` in a value of the description."""
    return text.replace("{python}", suite.python).replace("{suite}", suite.name)


def _filled(value: Any, suite: Suite) -> Any:
    """Return a value of the description with the placeholders of all its texts filled in."""
    if isinstance(value, str):
        return fill_in(value, suite)
    if isinstance(value, tuple):
        return tuple(_filled(part, suite) for part in value)
    if isinstance(value, dict):
        return {fill_in(key, suite): _filled(part, suite) for key, part in value.items()}
    if isinstance(value, Docker | File | HealthCheck | Image | User):
        parts = {part.name: getattr(value, part.name) for part in fields(value)}
        return replace(value, **{name: _filled(part, suite) for name, part in parts.items()})
    return value


def _platforms(table: _Table) -> tuple[Platform, ...]:
    values = table.strings("platforms")
    if not values or "all" in values:
        return tuple(Platform)
    try:
        return tuple(dict.fromkeys(Platform.parse(value) for value in values))
    except UnsupportedPlatform as error:
        raise table.wrong("platforms", error.message, error.hint) from None


def _suite(name: str, table: _Table) -> Suite:
    python = table.matching("python", r"3\.[0-9]{1,3}", "a minor version such as 3.11")
    glibc = table.matching("glibc", r"2\.[0-9]{1,3}", "a version such as 2.36").split(".")
    image = table.text("image", default="")
    if image and not re.fullmatch(_PINNED_IMAGE, image):
        raise table.wrong(
            "image",
            f"{image!r} does not name one image for good",
            "write it with tag and digest, as debian:bookworm-slim@sha256:…",
        )
    table.finish()
    return Suite(name, python, (int(glibc[0]), int(glibc[1])), image or None)


def _image(name: str, table: _Table) -> Image:
    files = []
    for part in table.list_of_tables("files", default=()):
        mode = part.text("mode", default="")
        if mode and not re.fullmatch(r"0?[0-7]{3}", mode):
            raise part.wrong("mode", f"'{mode}' is not a mode", 'write it as "0644"')
        files.append(
            File(
                source=part.relative("source"),
                path=part.absolute("path"),
                mode=int(mode, 8) if mode else None,
                owned=part.boolean("owned", default=False),
            )
        )
        part.finish()
    user = None
    for part in table.optional_table("user"):
        user = User(
            name=part.matching("name", r"[a-z_][a-z0-9_-]{0,31}", "a POSIX user name"),
            uid=part.integer("uid", lowest=0, highest=65535),
            gid=part.integer("gid", lowest=0, highest=65535),
            home=part.absolute("home"),
        )
        if (user.uid == 0) != (user.name == "root") or (user.uid == 0 and user.gid != 0):
            raise part.wrong("uid", "root is uid 0 and gid 0, and nobody else is", "change one")
        part.finish()
    healthcheck = None
    for part in table.optional_table("healthcheck"):
        healthcheck = HealthCheck(
            test=part.strings("test"),
            interval_s=part.number("interval_s", default=30.0),
            timeout_s=part.number("timeout_s", default=5.0),
            start_period_s=part.number("start_period_s", default=5.0),
            retries=part.integer("retries", default=3, lowest=1, highest=100),
        )
        if not healthcheck.test or healthcheck.test[0] not in ("CMD", "CMD-SHELL", "NONE"):
            raise part.wrong(
                "test", "does not start with CMD, CMD-SHELL or NONE", 'write ["CMD", …]'
            )
        part.finish()
    ports = table.strings("ports", default=())
    for port in ports:
        number = port.partition("/")[0]
        if not re.fullmatch(r"[1-9][0-9]{0,4}(/(tcp|udp))?", port) or int(number) > 65535:
            raise table.wrong("ports", f"'{port}' is not a port", 'write it as "8000/tcp"')
    links = table.mapping("links")
    for link, target in links.items():
        table.check_absolute("links", link)
        if not target:
            raise table.wrong("links", f"'{link}' points at nothing", "name what it points at")
    environment = table.mapping("environment")
    for variable, value in environment.items():
        if "\0" in value:
            raise table.wrong("environment", f"'{variable}' holds a NUL", "remove it")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
            raise table.wrong(
                "environment", f"'{variable}' is not a variable", "write it as HTTP_PORT"
            )
    stop_signal = table.text("stop-signal", default="")
    if stop_signal and stop_signal not in signal.Signals.__members__:
        raise table.wrong("stop-signal", f"'{stop_signal}' is no signal", "write it as SIGTERM")
    dockerfile = table.relative("dockerfile", default=DOCKERFILE)
    if not re.fullmatch(r"(?:[A-Za-z0-9._-]+/)*Dockerfile(?:\.[A-Za-z0-9_-]+)?", dockerfile):
        raise table.wrong(
            "dockerfile",
            f"{dockerfile!r} is not a Dockerfile's name",
            f"write it as {DOCKERFILE}.{name}",
        )
    image = Image(
        name=name,
        description=table.text("description", default=""),
        base=table.text("from", default="") or None,
        packages=table.strings("packages", default=()),
        omit=table.strings("omit", default=()),
        exclude=table.strings("exclude", default=()),
        requirements=table.relative("requirements", default="") or None,
        project=table.boolean("project", default=False),
        files=tuple(files),
        directories=table.absolutes("directories"),
        links=links,
        user=user,
        environment=environment,
        workdir=table.absolute("workdir", default="") or None,
        ports=tuple(p if "/" in p else f"{p}/tcp" for p in ports),
        volumes=table.absolutes("volumes"),
        entrypoint=table.optional_strings("entrypoint"),
        command=table.optional_strings("command"),
        healthcheck=healthcheck,
        labels=table.mapping("labels"),
        stop_signal=stop_signal or None,
        bytecode=table.boolean("bytecode", default=True),
        # One file has one spelling.
        dockerfile=posixpath.normpath(dockerfile),
        docker_lines=table.instructions("docker-lines", _FINAL_INSTRUCTIONS),
        docker_build_lines=table.instructions("docker-build-lines", _BUILD_INSTRUCTIONS),
    )
    table.finish()
    return image


def _choose(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return f"{nearest(name, names)} choose {', '.join(names)}".strip()


def _shown(file: Path, root: Path) -> Path:
    try:
        return file.relative_to(root)
    except ValueError:
        return file


class _Table:
    """A TOML table that is read key by key, and knows which keys nobody asked for."""

    def __init__(self, values: Mapping[str, Any], path: Path, where: str) -> None:
        self._values = dict(values)
        self._path = path
        self._where = where
        self._known: list[str] = []

    def wrong(self, key: str, problem: str, hint: str) -> SettingsInvalid:
        """Return the error for `key`."""
        return SettingsInvalid(f"{self._path}: {self._dotted(key)}: {problem}", hint=hint)

    def finish(self) -> None:
        """Refuse the keys that were not read."""
        unknown = [key for key in self._values if key not in self._known]
        if unknown:
            key = unknown[0]
            guess = nearest(key, self._known)
            known = "known here: " + ", ".join(sorted(self._known))
            raise SettingsInvalid(
                f"{self._path}: unknown key '{self._dotted(key)}'", hint=guess or known
            )

    def text(self, key: str, *, default: str | None = None) -> str:
        value = self._typed(key, default, lambda v: isinstance(v, str), "a string")
        self._check_placeholders(key, value)
        return str(value)

    def matching(self, key: str, pattern: str, meaning: str) -> str:
        value = self.text(key)
        if not re.fullmatch(pattern, value):
            raise self.wrong(key, f"'{value}' cannot be used", f"it must be {meaning}")
        return value

    def absolute(self, key: str, *, default: str | None = None) -> str:
        value = self.text(key, default=default)
        if value:
            self.check_absolute(key, value)
        return value

    def relative(self, key: str, *, default: str | None = None) -> str:
        value = self.text(key, default=default)
        self.check_relative(key, value)
        return value

    def relatives(self, key: str) -> tuple[str, ...]:
        values = self.strings(key, default=())
        for value in values:
            self.check_relative(key, value)
        return values

    def check_relative(self, key: str, value: str) -> None:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\0" in value:
            raise self.wrong(
                key, f"'{value}' is not a path in the repository", "write it as deployment/file"
            )

    def absolutes(self, key: str) -> tuple[str, ...]:
        values = self.strings(key, default=())
        for value in values:
            self.check_absolute(key, value)
        return values

    def check_absolute(self, key: str, value: str) -> None:
        path = PurePosixPath(value)
        if path.root != "/" or ".." in path.parts or str(path) != value or value == "/":
            raise self.wrong(
                key, f"'{value}' is not a path inside an image", "write it as /app/models"
            )

    def integer(
        self, key: str, *, default: int | None = None, lowest: int = 0, highest: int = 2**31
    ) -> int:
        value = self._typed(
            key, default, lambda v: isinstance(v, int) and not isinstance(v, bool), "a whole number"
        )
        if not lowest <= value <= highest:
            raise self.wrong(key, f"{value} is out of range", f"use {lowest} to {highest}")
        return int(value)

    def number(self, key: str, *, default: float) -> float:
        value = self._typed(
            key,
            default,
            lambda v: isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v < 2**31,
            "a number of seconds",
        )
        return float(value)

    def boolean(self, key: str, *, default: bool) -> bool:
        return bool(self._typed(key, default, lambda v: isinstance(v, bool), "true or false"))

    def strings(self, key: str, *, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        values = self._typed(
            key,
            default,
            lambda v: isinstance(v, list | tuple) and all(isinstance(s, str) for s in v),
            "a list of strings",
        )
        for value in values:
            self._check_placeholders(key, value)
        return tuple(values)

    def optional_strings(self, key: str) -> tuple[str, ...] | None:
        self._known.append(key)
        return self.strings(key) if key in self._values else None

    def instructions(self, key: str, allowed: Sequence[str]) -> tuple[str, ...]:
        """Read lines of a Dockerfile, each one whole instruction or comment.

        No placeholders are looked for: `${VARIABLE}` and braces belong to the shell.
        """
        values = self._typed(
            key,
            (),
            lambda v: isinstance(v, list | tuple) and all(isinstance(s, str) for s in v),
            "a list of strings",
        )
        for value in values:
            shown = repr(value.split("\n")[0])
            *continued, last = value.split("\n")
            # Docker takes a backslash with blanks after it as a continuation, too.
            ends = [line.rstrip(" \t").endswith("\\") for line in (*continued, last)]
            if not all(ends[:-1]) or ends[-1]:
                raise self.wrong(
                    key,
                    f"{shown} is not one instruction",
                    "end each of its lines but the last with a backslash",
                )
            if re.search(r"(?:^|\s)[0-9]*<<-?[\"']?[A-Za-z_]", value):
                raise self.wrong(
                    key, f"{shown} has a here-document", "write the lines with backslashes"
                )
            if any(ord(character) < 32 and character not in "\t\n" for character in value):
                raise self.wrong(key, f"{shown} holds a control character", "remove it")
            if value.startswith("#") and not continued:
                continue
            name, _, arguments = value.partition(" ")
            if name.upper() in _KEYS_OF_INSTRUCTIONS and name.upper() not in allowed:
                hint = f"images.toml has a key for it: '{_KEYS_OF_INSTRUCTIONS[name.upper()]}'"
                raise self.wrong(key, f"{name.upper()} cannot be used there", hint)
            if name not in allowed or not arguments.strip():
                raise self.wrong(
                    key,
                    f"{shown} is not an instruction that can be used there",
                    f"start it with {', '.join(allowed)}",
                )
        return tuple(values)

    def mapping(self, key: str) -> Mapping[str, str]:
        values = self._typed(
            key,
            {},
            lambda v: isinstance(v, dict) and all(isinstance(s, str) for s in v.values()),
            "a table of strings",
        )
        for value in values.values():
            self._check_placeholders(key, value)
        return dict(values)

    def tables(self, key: str) -> list[tuple[str, _Table]]:
        values = self._typed(
            key,
            None,
            lambda v: isinstance(v, dict) and v and all(isinstance(t, dict) for t in v.values()),
            "one or more tables",
        )
        for name in values:
            if not re.fullmatch(_NAME, name):
                raise self.wrong(key, f"'{name}' cannot be a name", f"use {_NAME_MEANING}")
        return [(name, self._child(f"{key}.{name}", part)) for name, part in values.items()]

    def optional_table(self, key: str) -> list[_Table]:
        self._known.append(key)
        if key not in self._values:
            return []
        value = self._typed(key, None, lambda v: isinstance(v, dict), "a table")
        return [self._child(key, value)]

    def list_of_tables(self, key: str, *, default: tuple[()] | None = None) -> list[_Table]:
        values = self._typed(
            key,
            default,
            lambda v: isinstance(v, list | tuple) and all(isinstance(t, dict) for t in v),
            "a list of tables",
        )
        return [self._child(f"{key}[{i}]", part) for i, part in enumerate(values)]

    def _child(self, key: str, values: Mapping[str, Any]) -> _Table:
        return _Table(values, self._path, self._dotted(key))

    def _dotted(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def _typed(self, key: str, default: Any, fits: Callable[[Any], Any], meaning: str) -> Any:
        self._known.append(key)
        if key not in self._values:
            if default is not None:
                return default
            unread = [name for name in self._values if name not in self._known]
            if typo := difflib.get_close_matches(key, unread, n=1, cutoff=0.75):
                raise SettingsInvalid(
                    f"{self._path}: unknown key '{self._dotted(typo[0])}'",
                    hint=f"did you mean '{key}'?",
                )
            raise self.wrong(key, "is missing", f"it must be {meaning}")
        value = self._values[key]
        if not fits(value):
            raise self.wrong(key, f"{value!r} is not {meaning}", f"write {meaning}")
        return value

    def _check_placeholders(self, key: str, value: str) -> None:
        try:
            parts = list(string.Formatter().parse(value))
        except ValueError:
            return  # A lone brace is not a placeholder.
        for _, name, form, conversion in parts:
            if name is not None and (name not in ("python", "suite") or form or conversion):
                raise self.wrong(
                    key, f"unknown placeholder '{{{name}}}'", "use {python} or {suite}"
                )
