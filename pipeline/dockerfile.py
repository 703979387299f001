"""The description as Dockerfiles and a .dockerignore: rendered, committed, built by BuildKit.

What is rendered works with the BuildKit inside Docker Engine 20.10, so no `# syntax=` line,
no `COPY --link` and no here-documents.  Everything is a function of the description, the
lock and the project's name: two runs give the same bytes, and a test holds the committed
files to them.
"""

from __future__ import annotations

import json
import posixpath
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.atomic import write_atomically
from pipeline.bases import LockedBase
from pipeline.errors import LockStale, RenderedStale, SettingsInvalid
from pipeline.lock import Lock, check_current, description_inputs, read_lock
from pipeline.settings import LOCK, HealthCheck, Image, Settings, Suite, User, read_settings
from pipeline.sources.project import Project

DOCKERIGNORE = Path(".dockerignore")
BUILD_REQUIREMENTS = "requirements/build.txt"
COMMAND = "invoke dockerfile"
DEFAULT_TARGET = "production"

# What a Dockerfile takes literally: no space, no quote, no variable, no wildcard.
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~-]+")
_STAGE = re.compile(r"[a-z][a-z0-9._-]*")
_WIDTH = 96

# Where build stages put things.  Below _STAGED the tree is the image's.  hadolint knows
# pip's cache mount by its last two parts, as they are in anybody's home.
_PIP_CACHE = "/build/.cache/pip"
_STAGED = "/staged"
_LOCAL = "/usr/local/"
_SOURCE = "/source"
_WHEELS = "/wheels"
_BACK_END = "/opt/back-end"
_MOUNTED_REQUIREMENTS = "/tmp/requirements.txt"  # noqa: S108

# As into an empty system; bytecode and scripts' folders are seen to otherwise.
_INTO_STAGED = f"--root={_STAGED} --ignore-installed --no-compile --no-warn-script-location"
_WITH_CA = "if [ -f /run/secrets/ca ]; then {assignment}=/run/secrets/ca; fi"

# Leftovers of tools, no part of any image; as the daemonless builder has it.
_NEVER_SENT = (
    "**/.DS_Store",
    "**/.mypy_cache",
    "**/.pytest_cache",
    "**/.ruff_cache",
    "**/__pycache__",
    "**/*.pyc",
)

_HEADER = """\
# Rendered from {path} and its lock by '{command}'; change it there.
#
#   docker build -f {file} --target {target} .
#
# Targets: {targets} (the default).
# Secrets, all optional (--secret id=…,src=FILE):
#
#   ca        certificate authorities for apt and pip, instead of their own
#   pip       a pip.conf: another package index, credentials
#   sources   what takes the place of Debian's own apt sources: a mirror, a snapshot
#
# Versions are the lock's.  A mirror drops one as soon as its successor is out: then lock and
# render again, or give `sources` that still have it.
#
# What apt and pip download stays in cache mounts, never in a layer; docker-clean, which the
# official images have, would empty apt's.  apt wants its folders to itself: sharing=locked."""


def read_inputs(root: Path) -> tuple[Settings, Lock]:
    """Return the description and the lock of the repository at `root`.

    Raises `LockStale` when the one was not made from the other, and what reading raises.
    """
    settings = read_settings(root)
    requires: tuple[str, ...] = ()
    if any(image.project for image in settings.images.values()):
        requires = Project.read(root).build_requires
    lock = read_lock(root / LOCK, LOCK)
    check_current(lock, description_inputs(settings, requires), LOCK)
    return settings, lock


def dockerfiles(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    """Return the path of each Dockerfile with its targets; the last is the default stage.

    Each image follows those that it is built on.  Production goes last, so that it is what a
    build without `--target` gives, unless another image of the file is built on it.
    """
    files: dict[str, list[str]] = {}
    for name in _lowest_first(settings, settings.images):
        files.setdefault(settings.images[name].dockerfile, []).append(name)
    return {path: tuple(names) for path, names in files.items()}


def dockerfile_of(settings: Settings, target: str) -> str:
    """Return the path of the Dockerfile with `target`; raises `UnknownTarget`."""
    return settings.image(target).dockerfile


def render(settings: Settings, lock: Lock, suite: Suite, file: str) -> str:
    """Return the text of the Dockerfile at `file`, a path of `dockerfiles`.

    `settings` are as they were read, placeholders not filled in.  Raises `SettingsInvalid`
    for what a Dockerfile cannot say, `LockStale` for a package or base that the lock does
    not hold, and `BaseUnusable` for a base with another Python than the suite's.
    """
    targets = dockerfiles(settings)[file]
    return _Renderer(settings.filled(suite), lock, suite, targets).text(file)


def render_build_requirements(lock: Lock) -> str:
    """Return what the project's build back end needs as a file for pip, with hashes."""
    lines = [f"# Rendered from the lock by '{COMMAND}': what builds the project's wheel."]
    for requirement in lock.build_requirements:
        lines.append(requirement.replace(" --hash=", " \\\n    --hash="))
    return "\n".join(lines) + "\n"


def render_dockerignore(settings: Settings) -> str:
    """Return the text of .dockerignore: what Dockerfiles copy or mount, and nothing else."""
    lines = [
        f"# Rendered from {settings.path} by '{COMMAND}': nothing is sent to an engine but",
        "# what a Dockerfile copies or mounts.",
        "*",
        *(f"!{path}" for path in sorted(context_paths(settings))),
        *_NEVER_SENT,
    ]
    return "\n".join(lines) + "\n"


def context_paths(settings: Settings) -> frozenset[str]:
    """Return the paths of the repository that Dockerfiles read, whatever the suite."""
    found: set[str] = set()
    for suite in settings.suites.values():
        filled = settings.filled(suite)
        for image in filled.images.values():
            found.update(posixpath.normpath(file.source) for file in image.files)
            if image.requirements:
                found.add(posixpath.normpath(image.requirements))
            for line in (*image.docker_lines, *image.docker_build_lines):
                found.update(_paths_read(line, f"{settings.path}: images.{image.name}"))
            if image.project:
                found.update(posixpath.normpath(path) for path in filled.docker.project_files)
                found.add(BUILD_REQUIREMENTS)
    if "." in found:
        raise SettingsInvalid(
            f"{settings.path} copies the whole repository into an image",
            hint="name the files and folders that the image needs",
        )
    return frozenset(found)


def rendered_files(settings: Settings, lock: Lock) -> Mapping[Path, str]:
    """Return every committed file that is rendered: path in the repository, text."""
    suite = settings.suite()
    files = {Path(file): render(settings, lock, suite, file) for file in dockerfiles(settings)}
    files[DOCKERIGNORE] = render_dockerignore(settings)
    if any(image.project for image in settings.images.values()) and lock.build_requirements:
        files[Path(BUILD_REQUIREMENTS)] = render_build_requirements(lock)
    return files


def differing_files(settings: Settings, lock: Lock) -> Mapping[Path, str]:
    """Return those of `rendered_files` that are not on disk as they are rendered."""

    def differs(path: Path, text: str) -> bool:
        try:
            return (settings.root / path).read_bytes() != text.encode()
        except OSError:
            return True

    rendered = rendered_files(settings, lock)
    return {path: text for path, text in rendered.items() if differs(path, text)}


def write_rendered(settings: Settings, lock: Lock) -> tuple[Path, ...]:
    """Write the files that differ, each atomically; return their paths."""
    differing = differing_files(settings, lock)
    for path, text in differing.items():
        write_atomically(settings.root / path, text.encode())
    return tuple(differing)


def check_rendered(settings: Settings, lock: Lock) -> None:
    """Raise `RenderedStale`, naming the files, unless all are as they would be written."""
    if differing := differing_files(settings, lock):
        named = ", ".join(sorted(str(path) for path in differing))
        raise RenderedStale(
            f"{named}: not what {settings.path} and its lock render", hint=f"run '{COMMAND}'"
        )


def _lowest_first(settings: Settings, names: Iterable[str]) -> tuple[str, ...]:
    """Return `names` with the images below them, each after its base, production late."""
    placed: dict[str, None] = {}
    for name in sorted(names, key=lambda name: name == DEFAULT_TARGET):
        placed.update(dict.fromkeys(image.name for image in settings.chain(name)))
    return tuple(placed)


def _paths_read(line: str, where: str) -> Iterator[str]:
    """Yield the paths of the repository that an instruction copies or mounts."""
    name, *words = line.replace("\\\n", " ").split()
    flags = [word for word in words if word.startswith("--")]
    paths: list[str] = []
    if name == "RUN":
        for flag in flags:
            if not flag.startswith("--mount="):
                continue
            options = dict(part.partition("=")[::2] for part in flag[8:].split(","))
            # A mount without a type is a bind mount.
            if options.get("type", "bind") == "bind" and "from" not in options:
                paths.append(options.get("source") or options.get("src") or ".")
    elif name in ("ADD", "COPY") and not any(flag.startswith("--from=") for flag in flags):
        given = [word for word in words if not word.startswith("--")]
        if given and given[0].startswith("["):
            given = _listed(" ".join(given))
        if len(given) < 2:
            raise SettingsInvalid(
                f"{where}: {line!r} does not say what goes where",
                hint='write it as COPY FROM TO, or COPY ["from", "to"]',
            )
        paths = [path for path in given[:-1] if "://" not in path and not path.startswith("git@")]
    for path in paths:
        if "$" in path or ".." in path.split("/"):
            raise SettingsInvalid(
                f"{where}: '{path}' does not say what is read from the repository",
                hint="write the path as it is, relative to the repository",
            )
        yield posixpath.normpath(path.lstrip("/") or ".")


def _listed(text: str) -> list[str]:
    """Return the strings of a JSON list; nothing for anything else."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return []
    strings = isinstance(values, list) and all(isinstance(value, str) for value in values)
    return values if strings else []


class _Renderer:
    """One Dockerfile. `settings` are filled in for `suite`."""

    def __init__(
        self, settings: Settings, lock: Lock, suite: Suite, targets: Sequence[str]
    ) -> None:
        self._settings = settings
        self._lock = lock
        self._suite = suite
        self._targets = targets
        self._names = _lowest_first(settings, targets)
        self._arguments: dict[str, str] = {}
        """Global ARGs in use, which a build may replace."""
        self._stages: list[str] = []

    def text(self, file: str) -> str:
        """Return the whole file."""
        blocks = [block for name in self._names for block in self._image(name)]
        header = _HEADER.format(
            path=self._settings.path,
            command=COMMAND,
            file=file,
            target=self._targets[-1],
            targets=", ".join(self._targets),
        )
        arguments = [f"ARG {name}={value}" for name, value in self._arguments.items()]
        return "\n\n".join([header, "\n".join(arguments), *blocks]) + "\n"

    def _image(self, name: str) -> Iterator[str]:
        """Yield the stages of an image, its own the last but for those that install."""
        image = self._settings.images[name]
        packages = self._install(self._pins(image), tuple(image.links.items()))
        if image.base in self._settings.images:
            if self._is_built(name):
                yield self._build(image)
            yield self._final(image, image.base or "", packages)
            return
        start = self._root(image)
        above = [other for other in self._names if self._root_of(other) == name]
        if not self._is_built(name):
            yield self._final(image, start, packages)
            yield from self._installers(name, name, above)
            return
        # Its build stage needs its packages, and so does it.
        yield self._stage(start, f"{name}-packages", [packages], f"The packages of {name}.")
        yield from self._installers(name, f"{name}-packages", above)
        yield self._build(image)
        yield self._final(image, f"{name}-packages", "")

    def _installers(self, root: str, start: str, above: Sequence[str]) -> Iterator[str]:
        """Yield the stages that the build stages of the images `above` a root share."""
        if any(self._is_built(name) for name in above):
            yield self._tools(root, start)
        if any(self._settings.images[name].project for name in above):
            yield self._wheel(root)

    def _stage(self, start: str, name: str, parts: Iterable[str], about: str) -> str:
        """Return a stage; raises `SettingsInvalid` for a name that it cannot have."""
        if not _STAGE.fullmatch(name) or name in self._stages:
            taken = "is taken by another stage" if name in self._stages else "starts with a digit"
            raise SettingsInvalid(
                f"{self._settings.path}: a stage cannot be called '{name}': the name {taken}",
                hint="give the image another name",
            )
        self._stages.append(name)
        comment = f"# {' '.join(about.split())}\n" if about else ""
        return "\n".join([f"{comment}FROM {start} AS {name}", *(part for part in parts if part)])

    def _root(self, image: Image) -> str:
        """Return what the stage of an image starts from that stands on none described here."""
        if base := self._registry_base(image.name):
            argument = re.sub(r"[^a-z0-9]", "_", image.name).upper() + "_BASE"
            while self._arguments.get(argument, base.pinned) != base.pinned:
                argument += "_"  # x-y and x.y are two images
            self._arguments[argument] = base.pinned
        else:
            if self._suite.image is None:
                raise SettingsInvalid(
                    f"{self._settings.path}: suites.{self._suite.name}.image is missing: nothing "
                    f"says what the Dockerfile of '{image.name}' starts from",
                    hint=f"write image = 'debian:{self._suite.name}-slim@sha256:…' there",
                )
            argument = "DEBIAN_IMAGE"
            self._arguments[argument] = self._suite.image
        return f"${{{argument}}}"

    def _registry_base(self, name: str) -> LockedBase | None:
        """Return the image from a registry that `name` stands on; its digest is an index's."""
        reference = self._settings.registry_base(name)
        if reference is None:
            return None
        return self._lock.base(self._suite.name, self._settings.platforms[0], reference)

    def _root_of(self, name: str) -> str:
        return self._settings.chain(name)[0].name

    def _helper(self, name: str, root: str) -> str:
        """Return the name of a stage that all images of one root share."""
        roots = {self._root_of(other) for other in self._names}
        return name if len(roots) == 1 else f"{root}-{name}"

    def _is_built(self, name: str) -> bool:
        image = self._settings.images[name]
        return bool(image.requirements or image.project or image.files or image.docker_build_lines)

    # Stages that no image keeps

    def _tools(self, root: str, start: str) -> str:
        docker = self._settings.docker
        asks = [self._settings.images[name] for name in self._names]
        needs_pip = any(image.requirements or image.project for image in asks)
        if needs_pip and not docker.build_packages and not self._registry_base(root):
            raise SettingsInvalid(
                f"{self._settings.path}: docker.build-packages is missing: nothing says what "
                "installs wheels",
                hint='write build-packages = ["python3-pip"] below [docker]',
            )
        # An image from a registry that has Python has pip.
        names = () if self._registry_base(root) else docker.build_packages
        pins = self._versions(names, root, docker=True)
        settings = _assignments(
            "ENV",
            {
                "PIP_CACHE_DIR": _PIP_CACHE,
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "PIP_ROOT_USER_ACTION": "ignore",
            },
            "",
        )
        return self._stage(
            start,
            self._helper("build", root),
            [self._install(pins, ()), settings],
            f"{root} with pip; no image is built on it.",
        )

    def _wheel(self, root: str) -> str:
        """Return the stage that builds the project's wheel, as the daemonless builder does."""
        files = self._settings.docker.project_files
        where = f"{self._settings.path}: docker.project-files"
        if not files:
            raise SettingsInvalid(
                f"{where} is missing: nothing says what the project's wheel is built from",
                hint='write project-files = ["pyproject.toml", "src"] below [docker]',
            )
        parts = []
        if self._lock.build_requirements:
            parts.append(self._pip_install(BUILD_REQUIREMENTS, f"--target={_BACK_END}"))
        parts += [_copy(path, f"{_SOURCE}/{path}", where) for path in files]
        parts.append(self._epoch())
        parts.append(
            _run(
                f"chmod -R u=rwX,go=rX {_SOURCE}",
                f"PYTHONPATH={_BACK_END} PYTHONHASHSEED=0 python3 -m pip wheel --no-deps "
                f"--no-index --no-build-isolation --wheel-dir={_WHEELS} {_SOURCE}",
                # Installed by its name: a path would stay in the image (PEP 610).
                f"set -- {_WHEELS}/*.whl",
                'name="${1##*/}"',
                f'echo "${{name%%-*}}" >{_WHEELS}/requirements.txt',
            )
        )
        return self._stage(
            self._helper("build", root),
            self._helper("wheel", root),
            parts,
            "The project's own wheel, by its own build back end.",
        )

    def _build(self, image: Image) -> str:
        """Return the stage that puts together what the image copies."""
        root = self._root_of(image.name)
        where = f"{self._settings.path}: images.{image.name}"
        parts = list(image.docker_build_lines)
        if image.requirements:
            # Whoever brings a compiler means to compile what has no wheel.
            only = "" if image.docker_build_lines else " --only-binary=:all:"
            parts.append(self._pip_install(image.requirements, f"{_INTO_STAGED}{only}"))
        if image.project:
            wheels = f"--mount=type=bind,from={self._helper('wheel', root)},source={_WHEELS}"
            parts.append(
                _run(
                    f"python3 -m pip install {_INTO_STAGED} --no-deps --no-index "
                    f"--no-cache-dir --find-links={_WHEELS} "
                    f"--requirement={_WHEELS}/requirements.txt",
                    mounts=(f"{wheels},target={_WHEELS}",),
                )
            )
        for file in image.files:
            parts.append(_copy(file.source, f"{_STAGED}{file.path}", f"{where}.files"))
        if self._is_installed(image) or image.files:
            parts += [self._epoch(), self._finish(image)]
        return self._stage(
            self._helper("build", root),
            f"{image.name}-build",
            parts,
            f"What {image.name} copies.",
        )

    def _finish(self, image: Image) -> str:
        """Return what makes the staged files the same wherever they were checked out."""
        commands = [f"chmod -R u=rwX,go=rX {_STAGED}"]
        for file in image.files:
            if file.mode is not None:
                path = _plain(f"{_STAGED}{file.path}", f"images.{image.name}.files")
                commands.append(f"find {path} -type f -exec chmod {file.mode:04o} {{}} +")
        comments = ["# Readable whatever the checkout's umask, one time for every file."]
        base = self._registry_base(image.name)
        suite = base.adapt(self._suite) if base else self._suite
        if image.bytecode and self._is_installed(image):
            comments = [
                "# Readable whatever the checkout's umask; compiled, which the image's user cannot",
                "# (what does not compile, as templates, stays source); one time for every file.",
            ]
            commands.append(
                "{ python3 -m compileall -qq -f --invalidation-mode unchecked-hash "
                f"-s {_STAGED} -p / "
                f"{_STAGED}/{suite.site_packages} || true; }}"
            )
        commands.append(
            f'find {_STAGED} -exec touch --no-dereference --date="@${{SOURCE_DATE_EPOCH}}" {{}} +'
        )
        return "\n".join([*comments, _run(*commands)])

    def _epoch(self) -> str:
        """Return what gives a stage the time of every file: the lock's, or a build's own."""
        self._arguments["SOURCE_DATE_EPOCH"] = str(self._lock.suite(self._suite.name).epoch_s)
        return "ARG SOURCE_DATE_EPOCH"

    def _is_installed(self, image: Image) -> bool:
        """Return whether the image has anything below /usr/local."""
        return bool(
            image.requirements
            or image.project
            or any(file.path.startswith(_LOCAL) for file in image.files)
        )

    def _pip_install(self, requirements: str, options: str) -> str:
        source = _plain(requirements, f"{self._settings.path}: requirements")
        return _run(
            _WITH_CA.format(assignment="export PIP_CERT"),
            f"python3 -m pip install {options} --no-deps --require-hashes "
            f"--requirement={_MOUNTED_REQUIREMENTS}",
            mounts=(
                f"--mount=type=bind,source={source},target={_MOUNTED_REQUIREMENTS}",
                f"--mount=type=cache,target={_PIP_CACHE}",
                "--mount=type=secret,id=ca",
                "--mount=type=secret,id=pip,target=/etc/pip.conf",
            ),
        )

    # Debian packages

    def _install(self, pins: Sequence[str], links: Sequence[tuple[str, str]]) -> str:
        commands = []
        if pins:
            commands = [
                _WITH_CA.format(assignment="ca"),
                "rm -f /etc/apt/apt.conf.d/docker-clean",
                'apt-get -o Acquire::https::CAInfo="${ca-}" update',
                'DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::https::CAInfo="${ca-}" install '
                "--yes --no-install-recommends" + "".join(f"\n{pin}" for pin in pins),
            ]
        for path, target in links:
            where = f"{self._settings.path}: links"
            commands.append(f"ln -sfn {_plain(target, where)} {_plain(path, where)}")
        if not commands:
            return ""
        name = f"{self._settings.name}-{self._suite.name}"
        mounts = (
            f"--mount=type=cache,id={name}-archives,target=/var/cache/apt,sharing=locked",
            f"--mount=type=cache,id={name}-lists,target=/var/lib/apt/lists,sharing=locked",
            # apt downloads as a user of its own, who has to read it.
            "--mount=type=secret,id=ca,mode=0444",
            "--mount=type=secret,id=sources,target=/etc/apt/sources.list.d/debian.sources",
        )
        return _run(*commands, mounts=mounts if pins else ())

    def _pins(self, image: Image) -> tuple[str, ...]:
        return self._versions(image.packages, image.name, docker=False)

    def _versions(self, names: Sequence[str], image: str, *, docker: bool) -> tuple[str, ...]:
        """Return `name=version` for each package, sorted; raises `LockStale`."""
        locked: dict[str, set[str]] = {}
        suite = self._lock.suite(self._suite.name)
        for platform in self._settings.platforms:
            packages = [
                package
                for lower in self._settings.chain(image)
                for package in self._lock.contents(self._suite.name, platform, lower.name).packages
            ]
            if docker:
                packages = list(suite.docker.get(platform, ()))
            for package in packages:
                locked.setdefault(package.name, set()).add(package.version)
        wanted = sorted(name.partition("=")[0] for name in names)
        for name in wanted:
            if name not in locked:
                raise LockStale(
                    f"the lock does not hold the package '{name}'", hint="run 'invoke lock'"
                )
        return tuple(f"{name}={_pattern(locked[name])}" for name in wanted)

    # The images themselves

    def _final(self, image: Image, start: str, packages: str) -> str:
        """Return the stage that is the image."""
        described = image.base in self._settings.images
        below = self._settings.merged(image.base or "") if described else Image(name="")
        merged = self._settings.merged(image.name)
        accounts = self._accounts(image, merged)
        ends_as = _user(below)
        base = self._registry_base(image.name)
        if base is not None and not ends_as:
            ends_as = str(base.runtime.get("User") or "")
        # Whatever an image below ends as, these are root's to do.
        switched = ends_as and (packages or accounts or image.docker_lines)
        last = _user(merged) or ("0" if merged.user else ends_as)
        about = f"{image.name}: {image.description}" if image.description else image.name
        parts = [
            "USER 0" if switched else "",
            packages,
            _assignments("ENV", image.environment, self._where(image, "environment")),
            accounts,
            *self._copies(image, merged),
            *image.docker_lines,
            *self._configuration(image),
            f"USER {last}" if image.user or switched else "",
            *self._command(merged, below, resets=not described and base is None),
            self._labels(image, merged, below),
        ]
        return self._stage(start, image.name, parts, about)

    def _where(self, image: Image, key: str) -> str:
        return f"{self._settings.path}: images.{image.name}.{key}"

    def _accounts(self, image: Image, merged: Image) -> str:
        """Return what adds the image's user and the folders that belong to it."""
        user = merged.user or User()
        folders = list(dict.fromkeys((*image.directories, *image.volumes)))
        commands = []
        if image.user is not None and user.uid:
            home = _plain(user.home, self._where(image, "user.home"))
            commands = [
                f"groupadd --gid={user.gid} {user.name}",
                f"useradd --uid={user.uid} --gid={user.gid} --home-dir={home} --no-create-home "
                f"--no-log-init --shell=/usr/sbin/nologin {user.name}",
            ]
            folders = list(dict.fromkeys((user.home, *folders)))
        if folders:
            owner = f" --owner={user.uid} --group={user.gid}" if user.uid else ""
            paths = " ".join(_plain(f, self._where(image, "directories")) for f in folders)
            commands.append(f"install --directory{owner} {paths}")
        return _run(*commands) if commands else ""

    def _copies(self, image: Image, merged: Image) -> Iterator[str]:
        source = f"COPY --from={image.name}-build"
        if self._is_installed(image):
            yield f"{source} {_STAGED}{_LOCAL} {_LOCAL}"
        for file in image.files:
            owner = f" --chown={_user(merged)}" if file.owned and _user(merged) else ""
            if owner or not file.path.startswith(_LOCAL):
                yield f"{source}{owner} {_STAGED}{file.path} {file.path}"

    def _configuration(self, image: Image) -> Iterator[str]:
        if image.workdir:
            yield f"WORKDIR {_plain(image.workdir, self._where(image, 'workdir'))}"
        if image.ports:
            yield f"EXPOSE {' '.join(image.ports)}"
        if image.volumes:
            volumes = [_plain(path, self._where(image, "volumes")) for path in image.volumes]
            yield f"VOLUME {json.dumps(volumes)}"
        if image.stop_signal:
            yield f"STOPSIGNAL {image.stop_signal}"
        if image.healthcheck:
            yield _healthcheck(image.healthcheck, self._where(image, "healthcheck"))

    def _command(self, merged: Image, below: Image, *, resets: bool) -> Iterator[str]:
        """Yield what differs from below; `resets` when what is below is not to be inherited."""
        entrypoint, command = merged.entrypoint or (), merged.command or ()
        inherited = below.entrypoint or (), below.command or ()
        if (entrypoint, command) == inherited and not resets:
            return
        if entrypoint or inherited[0] or resets:
            # Both: an ENTRYPOINT may reset the CMD of what is below.
            yield f"ENTRYPOINT {json.dumps(entrypoint, ensure_ascii=False)}"
        yield f"CMD {json.dumps(command, ensure_ascii=False)}"

    def _labels(self, image: Image, merged: Image, below: Image) -> str:
        """Return the labels that a description decides; those of a commit are `--label`s."""
        inherited = static_labels(self._settings, below) if below.name else {}
        labels = static_labels(self._settings, merged)
        changed = {key: value for key, value in labels.items() if inherited.get(key) != value}
        return _assignments("LABEL", changed, self._where(image, "labels"))


def static_labels(settings: Settings, image: Image) -> Mapping[str, str]:
    """Return the labels of a merged image that hold for every commit, sorted."""
    labels = dict(settings.labels)
    if image.description:
        labels["org.opencontainers.image.description"] = image.description
    labels.update(image.labels)
    return dict(sorted(labels.items()))


def _user(image: Image) -> str:
    """Return the user of a merged image as `uid:gid`, empty for root."""
    return f"{image.user.uid}:{image.user.gid}" if image.user and image.user.uid else ""


def _healthcheck(check: HealthCheck, where: str) -> str:
    kind, *command = check.test
    if kind == "NONE":
        return "HEALTHCHECK NONE"
    durations = {
        "interval": check.interval_s,
        "timeout": check.timeout_s,
        "start-period": check.start_period_s,
    }
    # Nought means the engine's default, to engines and here.
    flags = [f"--{name}={seconds:g}s" for name, seconds in durations.items() if seconds]
    text = json.dumps(command, ensure_ascii=False)
    if kind == "CMD-SHELL":
        text = _one_line(" ".join(command), where)
    return f"HEALTHCHECK {' '.join(flags)} --retries={check.retries} \\\n    CMD {text}"


def _copy(source: str, destination: str, where: str) -> str:
    return f"COPY {_plain(posixpath.normpath(source), where)} {_plain(destination, where)}"


def _assignments(instruction: str, values: Mapping[str, str], where: str) -> str:
    """Return an ENV or LABEL with each value quoted, a line each; empty without any."""
    if not values:
        return ""
    quoted = []
    for name, value in values.items():
        escaped = re.sub(r'(["$\\])', r"\\\1", _one_line(value, f"{where}.{name}"))
        quoted.append(f'{_plain(name, where)}="{escaped}"')
    return f"{instruction} " + (" \\\n" + " " * (len(instruction) + 1)).join(quoted)


def _run(*commands: str, mounts: Sequence[str] = ()) -> str:
    """Return a RUN of commands that all have to succeed; a newline in one is an argument's own."""
    lines = list(mounts)
    for number, command in enumerate(commands):
        first, *rest = (f"&& {command}" if number else command).split("\n")
        wrapped = textwrap.wrap(first, _WIDTH - 6, break_long_words=False, break_on_hyphens=False)
        lines.append(wrapped[0])
        lines += [f"    {line}" for line in (*wrapped[1:], *rest)]
    return "RUN " + " \\\n    ".join(lines)


def _pattern(versions: Iterable[str]) -> str:
    """Return what apt takes as the version: itself, or what those of all platforms begin with.

    A package that was rebuilt for one platform alone has another version there (`+b1`).
    """
    first, *others = sorted(set(versions))
    if not others:
        return first
    common = next(n for n in range(len(first), -1, -1) if all(o[:n] == first[:n] for o in others))
    return f"'{first[:common]}*'"


def _plain(text: str, where: str) -> str:
    """Return `text`; raises `SettingsInvalid` unless a Dockerfile takes it literally."""
    if not _PLAIN.fullmatch(text):
        raise SettingsInvalid(
            f"{where}: {text!r} cannot be written in a Dockerfile",
            hint="use letters, digits and _./:@%+,=~-",
        )
    return text


def _one_line(text: str, where: str) -> str:
    if any(ord(character) < 32 for character in text) or text.endswith("\\"):
        raise SettingsInvalid(
            f"{where}: {text!r} cannot be written in a Dockerfile",
            hint="use one line without control characters, with no backslash at its end",
        )
    return text
