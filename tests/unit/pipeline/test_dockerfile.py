"""Dockerfiles say what the description says; the committed ones are what it renders.

What is rendered is read by a small reader of its own, which knows as much of Dockerfiles as
these need, and compared with the description: stage by stage, what a container would get.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from pipeline import dockerfile
from pipeline.assemble import source_files
from pipeline.bases import LockedBase
from pipeline.dockerfile import (
    check_rendered,
    dockerfile_of,
    dockerfiles,
    read_inputs,
    render,
    render_build_requirements,
    render_dockerignore,
    rendered_files,
    write_rendered,
)
from pipeline.errors import LockStale, RenderedStale, SettingsInvalid, UnknownTarget
from pipeline.lock import Contents, Lock, LockedPackage, LockedSuite
from pipeline.platforms import Platform
from pipeline.settings import Image, Settings, Suite, parse_settings
from pipeline.sources.base import BaseFacts
from pipeline.sources.elf import LinkFacts

REPOSITORY = Path(__file__).parents[3]
DEFAULT = "deployment/docker/Dockerfile"
DIGEST = f"sha256:{'5' * 64}"

HEAD = f"""
schema = 1
name = "mini"
default-suite = "bookworm"
platforms = ["amd64", "arm64"]

[labels]
title = "Mini"

[suites.bookworm]
python = "3.11"
glibc = "2.36"
image = "debian:bookworm-slim@{DIGEST}"

[docker]
build-packages = ["python3-pip"]
project-files = ["pyproject.toml", "src"]
"""
BASE = """
[images.base]
packages = ["python{python}", "ca-certificates"]
"""
SERVICE = """
[images.service]
from = "base"
requirements = "requirements/service.txt"
"""


def described(images: str, root: Path = Path("/nowhere"), head: str = HEAD) -> Settings:
    return parse_settings(head + images, root=root, path=Path("deployment/images.toml"))


def package(name: str, version: str, platform: Platform) -> LockedPackage:
    return LockedPackage(name, version, platform.debian, "debian", f"pool/{name}.deb", "0" * 64, 1)


VERSIONS = {
    "python3.11": dict.fromkeys(Platform, "3.11.2-6"),
    "ca-certificates": dict.fromkeys(Platform, "20230311"),
    "git": {Platform.AMD64: "1:2.39.5-0+b1", Platform.ARM64: "1:2.39.5-0"},
}


def locked(settings: Settings, **changes: Any) -> Lock:
    """Return a lock in which every image has every package that is known here."""
    images = {
        platform: {
            name: Contents(
                packages=tuple(
                    package(name, version[platform], platform) for name, version in VERSIONS.items()
                )
            )
            for name in settings.images
        }
        for platform in settings.platforms
    }
    suite = LockedSuite(
        epoch_s=1_700_000_000,
        snapshot="20231114T221320Z",
        archives={},
        interpreter={},
        images=images,
        docker={p: (package("python3-pip", "23.0-1", p),) for p in settings.platforms},
    )
    suites = {name: replace(suite, **changes) for name in settings.suites}
    return Lock(inputs={}, suites=suites, build_requirements=("flit-core==3 --hash=sha256:00",))


def rendered(images: str, file: str = DEFAULT, head: str = HEAD) -> str:
    settings = described(images, head=head)
    return render(settings, locked(settings), settings.suite(), file)


# A reader of Dockerfiles.


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction with its arguments, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for whole in "\n".join(lines).replace("\\\n", " ").splitlines():
        if whole.strip():
            name, _, arguments = whole.partition(" ")
            yield name, " ".join(arguments.split())


@dataclass
class Stage:
    """What a container of a stage would get, and how it is made."""

    start: str
    config: dict[str, Any] = field(default_factory=dict)
    steps: list[tuple[str, str]] = field(default_factory=list)


def stages(text: str) -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    stage = Stage("")
    for name, arguments in instructions(text):
        if name == "FROM":
            start, _, called = arguments.partition(" AS ")
            inherited = found[start].config if start in found else {}
            stage = found[called] = Stage(start, json.loads(json.dumps(inherited)))
            continue
        stage.steps.append((name, arguments))
        config = stage.config
        match name:
            case "ENV" | "LABEL":
                pairs = (word.partition("=") for word in shlex.split(arguments))
                config.setdefault(name, {}).update({key: value for key, _, value in pairs})
            case "EXPOSE":
                config[name] = sorted({*config.get(name, ()), *arguments.split()})
            case "VOLUME":
                config[name] = sorted({*config.get(name, ()), *json.loads(arguments)})
            case "ENTRYPOINT":
                config[name], config["CMD"] = json.loads(arguments), []
            case "CMD":
                config[name] = json.loads(arguments)
            case "WORKDIR" | "USER" | "STOPSIGNAL" | "HEALTHCHECK":
                config[name] = arguments
    return found


def described_config(settings: Settings, name: str) -> dict[str, Any]:
    """Return what the description says that a container gets, as `stages` has it."""
    image = settings.merged(name)
    labels = dict(settings.labels)
    if image.description:
        labels["org.opencontainers.image.description"] = image.description
    config: dict[str, Any] = {
        "ENV": dict(image.environment),
        "LABEL": {**labels, **image.labels},
        "EXPOSE": sorted(image.ports),
        "VOLUME": sorted(image.volumes),
        "ENTRYPOINT": list(image.entrypoint or ()),
        "CMD": list(image.command or ()),
        "WORKDIR": image.workdir,
        "USER": f"{image.user.uid}:{image.user.gid}" if image.user else None,
        "STOPSIGNAL": image.stop_signal,
    }
    if check := image.healthcheck:
        config["HEALTHCHECK"] = (
            f"--interval={check.interval_s:g}s --timeout={check.timeout_s:g}s "
            f"--start-period={check.start_period_s:g}s --retries={check.retries} "
            f"CMD {json.dumps(check.test[1:])}"
        )
    return {key: value for key, value in config.items() if value or key in ("ENTRYPOINT", "CMD")}


def steps_of(text: str, stage: str, instruction: str) -> list[str]:
    return [said for name, said in stages(text)[stage].steps if name == instruction]


# The files of this repository.

SETTINGS, LOCK = read_inputs(REPOSITORY)
FILES = rendered_files(SETTINGS, LOCK)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_the_committed_files_are_what_is_rendered(path: Path) -> None:
    assert (REPOSITORY / path).read_text(encoding="utf-8") == FILES[path]


def test_two_renderings_are_the_same_bytes() -> None:
    assert rendered_files(*read_inputs(REPOSITORY)) == FILES


def test_production_is_what_a_build_without_a_target_gives() -> None:
    assert dockerfiles(SETTINGS)[DEFAULT][-1] == "production"
    assert list(stages(FILES[Path(DEFAULT)]))[-1] == "production"


@pytest.mark.parametrize("suite", SETTINGS.suites.values(), ids=lambda suite: suite.name)
@pytest.mark.parametrize("name", SETTINGS.images)
def test_a_container_gets_what_the_description_says(name: str, suite: Suite) -> None:
    text = render(SETTINGS, LOCK, suite, dockerfile_of(SETTINGS, name))
    config = stages(text)[name].config
    assert config == described_config(SETTINGS.filled(suite), name)


@pytest.mark.parametrize("suite", SETTINGS.suites.values(), ids=lambda suite: suite.name)
@pytest.mark.parametrize("name", SETTINGS.images)
def test_every_package_of_an_image_has_the_locked_version(name: str, suite: Suite) -> None:
    text = render(SETTINGS, LOCK, suite, dockerfile_of(SETTINGS, name))
    # An image by itself has them in a stage of their own, which its build starts from, too.
    stage = f"{name}-packages" if f"{name}-packages" in stages(text) else name
    runs = " ".join(steps_of(text, stage, "RUN"))
    pins = dict(pin.split("=", 1) for pin in re.findall(r" ([a-z0-9.+-]+=[^ =]+)", runs))
    pins = {key: value for key, value in pins.items() if not key.startswith("-")}
    expected = set(SETTINGS.filled(suite).images[name].packages)
    assert expected <= set(pins)
    for platform in SETTINGS.platforms:
        for found in LOCK.contents(suite.name, platform, name).packages:
            if found.name in expected:
                assert fnmatch.fnmatchcase(found.version, pins[found.name].strip("'"))


def test_production_keeps_neither_pip_nor_a_compiler_nor_downloads() -> None:
    found = stages(FILES[Path(DEFAULT)])
    production = found["production"]
    assert production.start == "base"
    runs = [said for name, said in (*found["base"].steps, *production.steps) if name == "RUN"]
    assert not [run for run in runs if "pip" in run or "gcc" in run or "build-essential" in run]
    for run in runs:
        if "apt-get" in run:
            assert "target=/var/cache/apt,sharing=locked" in run
            assert "target=/var/lib/apt/lists,sharing=locked" in run
            assert "--no-install-recommends" in run


@pytest.mark.parametrize("path", [path for path in FILES if "Dockerfile" in path.name], ids=str)
def test_the_engine_of_2020_understands_it(path: Path) -> None:
    text = FILES[path]
    assert not re.search(r"^#\s*\w+=", text, re.MULTILINE)
    for name, arguments in instructions(text):
        assert name in {
            "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
            "RUN", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
        }  # fmt: skip
        assert "--link" not in arguments
        assert "<<" not in arguments


@pytest.mark.parametrize("path", [path for path in FILES if "Dockerfile" in path.name], ids=str)
def test_everything_comes_with_a_digest_or_from_another_stage(path: Path) -> None:
    text = FILES[path]
    found = stages(text)
    arguments = dict(said.split("=", 1) for name, said in instructions(text) if "=" in said)
    assert arguments["DEBIAN_IMAGE"] == SETTINGS.suite().image
    assert {stage.start for stage in found.values()} <= {"${DEBIAN_IMAGE}", *found}
    for name, said in instructions(text):
        if name == "RUN" and "pip install" in said:
            offline = "--no-index" in said and f"from=wheel,source={dockerfile._WHEELS}" in said
            assert offline or "--require-hashes" in said
            assert "--no-deps" in said


@pytest.mark.parametrize("path", [path for path in FILES if "Dockerfile" in path.name], ids=str)
def test_secrets_are_optional_and_in_no_argument(path: Path) -> None:
    text = FILES[path]
    secrets = re.findall(r"--mount=type=secret,(\S+)", text)
    wheels = "pip install" in text
    expected = {"id=ca", "id=sources", *(["id=pip"] if wheels else [])}
    assert {secret.split(",")[0] for secret in secrets} == expected
    assert "required" not in text
    # apt reads it as another user.
    ways = {"id=ca,mode=0444", *(["id=ca"] if wheels else [])}
    assert {said for said in secrets if said.startswith("id=ca")} == ways
    arguments = {said.split("=")[0] for name, said in instructions(text) if name == "ARG"}
    assert arguments == {"DEBIAN_IMAGE", "SOURCE_DATE_EPOCH"}


# .dockerignore, read as Docker reads it: the last pattern that fits a path, or a folder above
# it, decides.


def is_sent(path: str, ignore: str) -> bool:
    sent = True
    for line in ignore.splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = re.escape(line.removeprefix("!"))
        expression = pattern.replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        places = [path, *map(str, PurePosixPath(path).parents)]
        if any(re.fullmatch(expression, place) for place in places if place != "."):
            sent = line.startswith("!")
    return sent


def sources_of(text: str) -> set[str]:
    """Return the paths of the context that a Dockerfile copies or mounts."""
    found = set()
    for name, said in instructions(text):
        if name == "COPY" and "--from=" not in said:
            found.update(said.split()[:-1])
        for mount in re.findall(r"--mount=type=bind,(\S+)", said):
            options = dict(option.split("=", 1) for option in mount.split(","))
            if "from" not in options:
                found.add(options["source"])
    return found


def files_of(source: str) -> list[str]:
    path = REPOSITORY / source
    if path.is_file():
        return [source]
    return [
        found.relative_to(REPOSITORY).as_posix()
        for found in path.rglob("*")
        if found.is_file() and "__pycache__" not in found.parts
    ]


@pytest.mark.parametrize("suite", SETTINGS.suites.values(), ids=lambda suite: suite.name)
def test_what_a_dockerfile_reads_is_sent_to_the_engine(suite: Suite) -> None:
    ignore = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8")
    for file in dockerfiles(SETTINGS):
        sources = sources_of(render(SETTINGS, LOCK, suite, file))
        assert sources
        for source in sources:
            files = files_of(source)
            assert files, source
            assert all(is_sent(path, ignore) for path in files), source


def test_files_that_the_builder_takes_are_sent_to_the_engine_and_leftovers_are_not() -> None:
    ignore = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8")
    for image in SETTINGS.images.values():
        for file in image.files:
            for relative, _, _ in source_files(file, REPOSITORY):
                assert is_sent(str(PurePosixPath(file.source) / relative), ignore)
    for path in (
        ".env", ".git/config", "secret.pem", "dist/images/x", "deployment/images.toml", "tests/x",
        "requirements/test.txt", "src/accelerapp/__pycache__/x.pyc", "monitoring/.DS_Store",
        "tests/unit/pipeline/x.py",
    ):  # fmt: skip
        assert not is_sent(path, ignore), path


# The description decides.


@pytest.mark.parametrize(
    ("line", "instruction", "expected"),
    [
        ('environment = { A = "b c" }', "ENV", 'A="b c"'),
        ("environment = { A = 'a \"b\" $c \\ d' }", "ENV", r'A="a \"b\" \$c \\ d"'),
        ('ports = ["80", "53/udp"]', "EXPOSE", "80/tcp 53/udp"),
        ('volumes = ["/a", "/b"]', "VOLUME", '["/a", "/b"]'),
        ('workdir = "/app"', "WORKDIR", "/app"),
        ('stop-signal = "SIGINT"', "STOPSIGNAL", "SIGINT"),
        ('entrypoint = ["a", "b \\"c\\""]', "ENTRYPOINT", r'["a", "b \"c\""]'),
        ('command = ["ü"]', "CMD", '["ü"]'),
        ('labels = { x = "y" }', "LABEL", 'title="Mini" x="y"'),
        ('user = { name = "u", uid = 7, gid = 8, home = "/u" }', "USER", "7:8"),
        (
            'healthcheck = { test = ["CMD", "a"], interval_s = 0.5, timeout_s = 2, retries = 1 }',
            "HEALTHCHECK",
            '--interval=0.5s --timeout=2s --start-period=5s --retries=1 CMD ["a"]',
        ),
        (
            'healthcheck = { test = ["CMD-SHELL", "a || b"], start_period_s = 0 }',
            "HEALTHCHECK",
            "--interval=30s --timeout=5s --retries=3 CMD a || b",
        ),
        ('healthcheck = { test = ["NONE"] }', "HEALTHCHECK", "NONE"),
    ],
)
def test_a_key_becomes_an_instruction(line: str, instruction: str, expected: str) -> None:
    assert steps_of(rendered(BASE + line), "base", instruction) == [expected]


def test_a_user_and_its_folders_are_made_before_anything_is_copied() -> None:
    text = rendered(
        BASE + SERVICE + 'user = { name = "u", uid = 7, gid = 8, home = "/home/u" }\n'
        'volumes = ["/data"]\ndirectories = ["/var/x", "/home/u"]'
    )
    names = [name for name, _ in stages(text)["service"].steps]
    assert names == ["RUN", "COPY", "VOLUME", "USER"]
    assert steps_of(text, "service", "RUN") == [
        "groupadd --gid=8 u && useradd --uid=7 --gid=8 --home-dir=/home/u --no-create-home "
        "--no-log-init --shell=/usr/sbin/nologin u "
        "&& install --directory --owner=7 --group=8 /home/u /var/x /data"
    ]


def test_a_version_that_differs_by_platform_is_a_pattern() -> None:
    text = rendered(BASE.replace('"ca', '"git", "ca'))
    (run,) = steps_of(text, "base", "RUN")
    assert run.endswith(
        "--no-install-recommends ca-certificates=20230311 git='1:2.39.5-0*' python3.11=3.11.2-6"
    )


def test_the_base_stage_inherits_no_command_of_the_image_it_starts_from() -> None:
    base = stages(rendered(BASE))["base"]
    assert base.config["ENTRYPOINT"] == base.config["CMD"] == []


def test_a_command_is_not_lost_to_an_entry_point() -> None:
    text = rendered(
        BASE + 'command = ["-V"]\n' + SERVICE + 'entrypoint = ["python3"]\n'
        '[images.third]\nfrom = "service"\ncommand = ["x"]\n'
        '[images.fourth]\nfrom = "third"\n'
    )
    found = stages(text)
    assert found["service"].config["ENTRYPOINT"] == ["python3"]
    assert found["service"].config["CMD"] == ["-V"]
    assert found["fourth"].config["ENTRYPOINT"] == ["python3"]
    assert found["fourth"].config["CMD"] == ["x"]
    assert not found["fourth"].steps


def test_files_are_staged_with_their_modes_and_owners() -> None:
    text = rendered(
        BASE + SERVICE + 'user = { name = "u", uid = 7, gid = 8, home = "/u" }\n'
        "files = [\n"
        '    { source = "a", path = "/srv/a", mode = "0600" },\n'
        '    { source = "b", path = "/srv/b", owned = true },\n'
        '    { source = "c", path = "/usr/local/lib/c" },\n]\n'
    )
    build = stages(text)["service-build"].steps
    assert [said for name, said in build if name == "COPY"] == [
        "a /staged/srv/a",
        "b /staged/srv/b",
        "c /staged/usr/local/lib/c",
    ]
    assert "find /staged/srv/a -type f -exec chmod 0600 {} +" in build[-1][1]
    assert "--invalidation-mode unchecked-hash -s /staged -p / /staged/usr/local" in build[-1][1]
    assert steps_of(text, "service", "COPY") == [
        "--from=service-build /staged/usr/local/ /usr/local/",
        "--from=service-build /staged/srv/a /srv/a",
        "--from=service-build --chown=7:8 /staged/srv/b /srv/b",
    ]


def test_an_image_without_bytecode_is_not_compiled() -> None:
    assert "compileall" in rendered(BASE + SERVICE)
    assert "compileall" not in rendered(BASE + SERVICE + "bytecode = false")


def test_own_lines_come_last_as_root_and_build_lines_first() -> None:
    text = rendered(
        BASE + SERVICE + 'user = { name = "u", uid = 7, gid = 8, home = "/u" }\n'
        'docker-lines = ["RUN \\\\\\n  setcap x", "COPY --from=service-build /x /x"]\n'
        'docker-build-lines = ["RUN apt-get install gcc", "ENV CC=gcc"]\n'
        '[images.above]\nfrom = "service"\ndocker-lines = ["RUN above"]\n'
    )
    found = stages(text)
    build = found["service-build"].steps
    assert build[:2] == [("RUN", "apt-get install gcc"), ("ENV", "CC=gcc")]
    assert "pip install" in build[2][1]
    # What has no wheel may be compiled now.
    assert "--only-binary" not in build[2][1]
    assert "--only-binary=:all:" in rendered(BASE + SERVICE)
    service = found["service"].steps
    lines = [("RUN", "setcap x"), ("COPY", "--from=service-build /x /x"), ("USER", "7:8")]
    assert service[-3:] == lines
    assert found["above"].steps == [("USER", "0"), ("RUN", "above"), ("USER", "7:8")]


def test_an_image_alone_is_not_built_on_itself() -> None:
    text = rendered(
        '[images.one]\npackages = ["python3.11"]\nrequirements = "r.txt"\nproject = true\n'
    )
    found = stages(text)
    assert {name: stage.start for name, stage in found.items()} == {
        "one-packages": "${DEBIAN_IMAGE}",
        "build": "one-packages",
        "wheel": "build",
        "one-build": "build",
        "one": "one-packages",
    }


def test_images_of_several_bases_have_tools_each() -> None:
    second = (BASE + SERVICE).replace("base", "other").replace("service", "job")
    found = stages(rendered(BASE + SERVICE + second))
    assert found["service-build"].start == "base-build"
    assert found["job-build"].start == "other-build"


def test_a_dockerfile_of_its_own_holds_what_an_image_stands_on() -> None:
    settings = described(
        BASE + SERVICE + 'dockerfile = "docker/Dockerfile.service"\n'
        '[images.production]\nfrom = "base"\n[images.last]\nfrom = "base"\n'
    )
    assert dockerfiles(settings) == {
        DEFAULT: ("base", "last", "production"),
        "docker/Dockerfile.service": ("service",),
    }
    assert dockerfile_of(settings, "service") == "docker/Dockerfile.service"
    with pytest.raises(UnknownTarget, match="did you mean 'service'"):
        dockerfile_of(settings, "servic")
    text = render(settings, locked(settings), settings.suite(), "docker/Dockerfile.service")
    assert list(stages(text)) == ["base", "build", "service-build", "service"]


def test_a_base_from_a_registry_is_named_by_its_digest() -> None:
    settings = described('[images.x-y]\nfrom = "python:{python}-slim"\nrequirements = "r.txt"\n')
    facts = BaseFacts(
        python="3.11",
        interpreter="/usr/local/bin/python3.11",
        site_packages="usr/local/lib/python3.11/site-packages",
        glibc=(2, 36),
        links=LinkFacts((), {}),
        accounts={},
        folders=(),
    )
    reference = "docker.io/library/python:3.11-slim"
    base = LockedBase(reference, DIGEST, DIGEST, {"User": "app"}, (), facts)
    lock = locked(settings, bases={p: {reference: base} for p in settings.platforms})
    text = render(settings, lock, settings.suite(), DEFAULT)
    assert f"ARG X_Y_BASE=docker.io/library/python:3.11-slim@{DIGEST}" in text
    found = stages(text)
    assert found["x-y-packages"].start == "${X_Y_BASE}"
    assert "apt-get" not in text
    assert "/staged/usr/local/lib/python3.11/site-packages" in text
    # What the base runs stays.
    assert {"ENTRYPOINT", "CMD", "USER"}.isdisjoint(found["x-y"].config)
    with pytest.raises(LockStale, match=r"does not hold the base 'python:3\.11-slim'"):
        render(settings, locked(settings), settings.suite(), DEFAULT)


# What cannot be rendered is one line.


@pytest.mark.parametrize(
    ("images", "problem", "advice"),
    [
        (BASE + 'environment = { A = "a\\nb" }', r"images.base.environment.A: 'a\nb'", "one line"),
        (BASE + 'environment = { A = "a\\\\" }', "images.base.environment.A", "no backslash"),
        (BASE + 'workdir = "/a b"', "images.base.workdir: '/a b' cannot be written", "letters"),
        (BASE + 'volumes = ["/$A"]', "images.base.directories: '/$A' cannot be", "letters"),
        (BASE + 'files = [{ source = "*", path = "/a" }]', "images.base.files: '*'", "letters"),
        (BASE + 'labels = { "a b" = "c" }', "images.base.labels: 'a b'", "letters"),
        (BASE + SERVICE.replace("service.txt", "a b"), "requirements/a b", "letters"),
        ('[images.1st]\npackages = ["git"]\n', "'1st': the name starts with a digit", "another"),
        (
            BASE + SERVICE + '[images.build]\nfrom = "base"\n',
            "'build': the name is taken",
            "give the image another name",
        ),
    ],
)
def test_what_a_dockerfile_cannot_say_is_refused(images: str, problem: str, advice: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        rendered(images)
    assert "\n" not in str(caught.value)
    assert problem in caught.value.message
    assert advice in caught.value.hint


@pytest.mark.parametrize(
    ("missing", "images", "key"),
    [
        (r"image = .*", BASE, "suites.bookworm.image"),
        (r"build-packages = .*", BASE + SERVICE, "docker.build-packages"),
        (r"project-files = .*", BASE + SERVICE + "project = true\n", "docker.project-files"),
    ],
)
def test_what_only_dockerfiles_need_is_asked_for_by_its_key(
    missing: str, images: str, key: str
) -> None:
    head = re.sub(missing, "", HEAD)
    with pytest.raises(SettingsInvalid) as caught:
        rendered(images, head=head)
    assert f"{key} is missing" in caught.value.message
    assert key.rpartition(".")[2] in caught.value.hint


def test_a_package_that_is_not_locked_is_named() -> None:
    with pytest.raises(LockStale, match="does not hold the package 'curl'; run 'invoke lock'"):
        rendered('[images.base]\npackages = ["curl"]\n')
    settings = described(BASE + SERVICE)
    with pytest.raises(LockStale, match="'python3-pip'"):
        render(settings, locked(settings, docker={}), settings.suite(), DEFAULT)


def test_own_lines_read_from_the_repository_and_it_is_sent() -> None:
    ignore = render_dockerignore(
        described(
            BASE + "docker-lines = [\n"
            '    "COPY --chmod=644 a ./b/c /x/",\n'
            '    \'COPY ["d", "/x/"]\',\n'
            '    "COPY --from=elsewhere no /x",\n'
            '    "ADD https://example.org/no /x",\n'
            '    "RUN --mount=type=bind,source=/e/,target=/e \\\\\\n  --mount=type=cache,target=/n '
            'true",\n'
            '    "RUN --mount=target=/f,source=f true",\n'
            '    "ADD git@example.org:no/no.git /x",\n]\n'
        )
    )
    assert re.findall(r"^!(.*)$", ignore, re.MULTILINE) == ["a", "b/c", "d", "e", "f"]


@pytest.mark.parametrize(
    "line",
    [
        "COPY . /x",
        "COPY ../a /x",
        "COPY $A /x",
        "COPY [broken /x",
        "COPY [[1],2]",
        "COPY x",
        "RUN --mount=type=bind,target=/x true",
    ],
)
def test_own_lines_that_read_who_knows_what_are_refused(line: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        render_dockerignore(described(f"{BASE}docker-lines = ['{line}']\n"))
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_build_requirements_are_a_file_for_pip() -> None:
    text = render_build_requirements(
        Lock({}, {}, build_requirements=("a==1 ; x --hash=sha256:1 --hash=sha256:2", "b==2"))
    )
    assert text.splitlines()[1:] == [
        "a==1 ; x \\",
        "    --hash=sha256:1 \\",
        "    --hash=sha256:2",
        "b==2",
    ]


# Writing and checking.


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    settings = described(BASE + SERVICE + "project = true\n", root=tmp_path)
    lock = locked(settings)
    expected = {Path(DEFAULT), Path(".dockerignore"), Path("requirements/build.txt")}
    with pytest.raises(RenderedStale) as caught:
        check_rendered(settings, lock)
    for path in expected:
        assert str(path) in caught.value.message
    assert "invoke dockerfile" in caught.value.hint
    assert set(write_rendered(settings, lock)) == expected
    check_rendered(settings, lock)
    assert write_rendered(settings, lock) == ()
    (tmp_path / ".dockerignore").write_bytes(b"*\r\n")
    with pytest.raises(RenderedStale, match=r"^\.dockerignore: not what deployment/images.toml"):
        check_rendered(settings, lock)
    assert write_rendered(settings, lock) == (Path(".dockerignore"),)


def test_a_change_of_the_description_shows(tmp_path: Path) -> None:
    settings = described(BASE + SERVICE, root=tmp_path)
    write_rendered(settings, locked(settings))
    changed = described(BASE + SERVICE + 'ports = ["80"]\n', root=tmp_path)
    with pytest.raises(RenderedStale, match=DEFAULT):
        check_rendered(changed, locked(changed))


def test_what_dockerfiles_alone_need_does_not_make_the_lock_stale() -> None:
    from pipeline.lock import description_inputs

    image = replace(
        SETTINGS.images["base"],
        dockerfile="Dockerfile",
        docker_lines=("RUN true",),
        docker_build_lines=("RUN true",),
    )
    suites = {name: replace(suite, image=None) for name, suite in SETTINGS.suites.items()}
    changed = replace(SETTINGS, suites=suites, images={**SETTINGS.images, "base": image})
    assert isinstance(changed.images["base"], Image)
    assert description_inputs(changed, ()) == description_inputs(SETTINGS, ())
    other = replace(SETTINGS, docker=replace(SETTINGS.docker, build_packages=("pip",)))
    inputs = description_inputs(SETTINGS, ())
    stale = {key for key, value in description_inputs(other, ()).items() if inputs[key] != value}
    assert stale == {"docker.build-packages"}
