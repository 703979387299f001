"""The description of the images is read whole, or refused with the place and the way out."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import (
    PipelineError,
    SettingsInvalid,
    SettingsUnreadable,
    UnknownTarget,
)
from pipeline.platforms import Platform
from pipeline.settings import (
    DESCRIPTION,
    File,
    HealthCheck,
    Image,
    Settings,
    Suite,
    User,
    fill_in,
    parse_settings,
    read_settings,
)

REPOSITORY = Path(__file__).parents[3]
DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "name": "example",
    "default-suite": "bookworm",
    "platforms": ["arm64"],
    "labels": {"title": "Example"},
    "suites": {"bookworm": {"python": "3.11", "glibc": "2.36"}},
    "images": {
        "base": {
            "description": "The lowest",
            "packages": ["python{python}"],
            "omit": ["dpkg"],
            "exclude": ["usr/share/**"],
            "links": {"/usr/bin/python": "python{python}"},
            "environment": {"PATH": "/usr/bin", "LANG": "C"},
            "labels": {"level": "base", "kept": "yes"},
            "ports": ["80"],
            "volumes": ["/data"],
            "workdir": "/",
            "entrypoint": ["/usr/bin/python"],
            "command": ["-V"],
            "stop-signal": "SIGINT",
            "bytecode": False,
        },
        "production": {
            "from": "base",
            "requirements": "requirements.txt",
            "project": True,
            "files": [{"source": "a", "path": "/b", "mode": "0755", "owned": True}],
            "directories": ["/var/x"],
            "user": {"name": "app", "uid": 1000, "gid": 1001, "home": "/app"},
            "environment": {"LANG": "C.UTF-8"},
            "labels": {"level": "production"},
            "ports": ["8000/tcp", "53/udp"],
            "volumes": ["/data", "/app/models"],
            "workdir": "/app",
            "healthcheck": {
                "test": ["CMD", "true"],
                "interval_s": 30,
                "timeout_s": 0.5,
                "start_period_s": 0,
                "retries": 1,
            },
        },
        "development": {"from": "production", "entrypoint": [], "command": ["bash"]},
    },
}
DOCUMENT["images"]["base"].pop("workdir")


ESCAPES = {34: '\\"', 92: "\\\\", 10: "\\n", 13: "\\r", 0: "\\u0000"}


def toml(value: Any) -> str:
    """Return a value as TOML writes it in one line."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.translate(ESCAPES) + '"'
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{toml(k)} = {toml(v)}' for k, v in value.items())}}}"
        case _:
            return str(value)


def parse(document: dict[str, Any] = DOCUMENT) -> Settings:
    text = "\n".join(f"{toml(key)} = {toml(value)}" for key, value in document.items())
    return parse_settings(text, root=Path("/repository"), path=DESCRIPTION)


MISSING = object()


def changed(dotted: str, value: Any) -> dict[str, Any]:
    """Return the document with the value at `images.base.ports`, or `….files[0].mode`, changed."""
    document = copy.deepcopy(DOCUMENT)
    *parents, last = re.findall(r"[^.\[\]]+", dotted)
    table: Any = document
    for key in parents:
        table = table[int(key)] if isinstance(table, list) else table.setdefault(key, {})
    if value is MISSING:
        del table[last]
    else:
        table[last] = value
    return document


def refusal(dotted: str, value: Any, error: type[PipelineError] = SettingsInvalid) -> str:
    """Return the one line that refuses a value."""
    with pytest.raises(error) as caught:
        parse(changed(dotted, value))
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.hint
    return text


# What is described here.


def test_the_description_of_this_repository_is_read() -> None:
    settings = read_settings(REPOSITORY)
    assert settings.path == DESCRIPTION
    assert settings.name == "accelerapp"
    assert settings.platforms == tuple(Platform)
    assert set(settings.images) >= {"base", "production", "development"}
    for name in settings.images:
        assert settings.chain(name)[-1].name == name


def test_production_here_is_not_root_and_has_a_health_check() -> None:
    production = read_settings(REPOSITORY).merged("production")
    assert production.user is not None
    assert production.user.uid > 0
    assert production.healthcheck is not None
    assert production.healthcheck.test[0] == "CMD"
    assert production.environment["SSL_CERT_FILE"].startswith("/etc/ssl/")


def test_every_key_arrives() -> None:
    settings = parse()
    assert settings.platforms == (Platform.ARM64,)
    assert settings.suites == {"bookworm": Suite("bookworm", "3.11", (2, 36))}
    assert settings.labels == {"title": "Example"}
    assert settings.images["base"] == Image(
        name="base",
        description="The lowest",
        packages=("python{python}",),
        omit=("dpkg",),
        exclude=("usr/share/**",),
        links={"/usr/bin/python": "python{python}"},
        environment={"PATH": "/usr/bin", "LANG": "C"},
        labels={"level": "base", "kept": "yes"},
        ports=("80/tcp",),
        volumes=("/data",),
        entrypoint=("/usr/bin/python",),
        command=("-V",),
        stop_signal="SIGINT",
        bytecode=False,
    )
    assert settings.images["production"] == Image(
        name="production",
        base="base",
        requirements="requirements.txt",
        project=True,
        files=(File("a", "/b", 0o755, True),),
        directories=("/var/x",),
        user=User("app", 1000, 1001, "/app"),
        environment={"LANG": "C.UTF-8"},
        labels={"level": "production"},
        ports=("8000/tcp", "53/udp"),
        volumes=("/data", "/app/models"),
        workdir="/app",
        healthcheck=HealthCheck(("CMD", "true"), 30.0, 0.5, 0.0, 1),
    )


def test_what_is_left_out_has_a_default() -> None:
    document = changed("images.production.healthcheck", {"test": ["CMD", "true"]})
    document["images"]["production"]["files"] = [{"source": "a", "path": "/b"}]
    document["platforms"] = []
    settings = parse(document)
    assert settings.images["production"].healthcheck == HealthCheck(("CMD", "true"))
    assert settings.images["production"].files == (File("a", "/b", None, False),)
    assert settings.images["development"].bytecode is True
    assert settings.platforms == tuple(Platform)


@pytest.mark.parametrize(
    ("platforms", "expected"),
    [
        (["all"], tuple(Platform)),
        (["aarch64", "arm64"], (Platform.ARM64,)),
        (["linux/arm64/v8", "x86_64"], (Platform.ARM64, Platform.AMD64)),
    ],
)
def test_platforms_can_be_spelled_as_on_the_command_line(
    platforms: list[str], expected: tuple[Platform, ...]
) -> None:
    assert parse(changed("platforms", platforms)).platforms == expected


# Keys that nobody knows.


@pytest.mark.parametrize(
    ("dotted", "nearest"),
    [
        ("plattforms", "platforms"),
        ("lables", "labels"),
        ("suites.bookworm.pyton", "python"),
        ("images.base.package", "packages"),
        ("images.base.stop_signal", "stop-signal"),
        ("images.production.entry-point", "entrypoint"),
        ("images.production.user.user-name", "name"),
        ("images.production.healthcheck.interval", "interval_s"),
        ("images.production.files[0].src", "source"),
        ("images.production.docker_lines", "docker-lines"),
        ("docker.build-package", "build-packages"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(dotted: str, nearest: str) -> None:
    text = refusal(dotted, "value")
    assert text.startswith(f"deployment/images.toml: unknown key '{dotted}'; ")
    assert text.endswith(f"did you mean '{nearest}'?")


def test_an_unknown_key_like_no_other_comes_with_all_that_are_known() -> None:
    assert refusal("suites.bookworm.zzz", 1).endswith("known here: glibc, image, python")


# Values that cannot be used.

DIGEST = f"sha256:{'0' * 64}"

WRONG = [
    ("schema", MISSING, "is missing", "a whole number"),
    ("schema", 2, "2 is not known", "this version reads 1"),
    ("schema", "1", "'1' is not a whole number", "write a whole number"),
    ("schema", True, "True is not a whole number", "write a whole number"),
    ("name", MISSING, "is missing", "a string"),
    ("name", "Upper", "'Upper' cannot be used", "lower-case"),
    ("name", "a..b", "'a..b' cannot be used", "lower-case"),
    ("name", "a/b", "'a/b' cannot be used", "lower-case"),
    ("platforms", ["arm65"], "platform 'arm65' is not supported", "did you mean 'arm64'?"),
    ("platforms", [" "], "platform ' ' is not supported", "choose amd64"),
    ("platforms", "arm64", "'arm64' is not a list of strings", "write a list of strings"),
    ("platforms", [1], "[1] is not a list of strings", "write a list of strings"),
    ("default-suite", "bokworm", "'bokworm' is not described", "did you mean 'bookworm'?"),
    ("labels", {"a": 1}, "{'a': 1} is not a table of strings", "write a table of strings"),
    ("suites", {}, "{} is not one or more tables", "write one or more tables"),
    ("suites", MISSING, "is missing", "one or more tables"),
    ("images", {"base": 1}, "{'base': 1} is not one or more tables", "write one or more tables"),
    ("images", {"../x": {}}, "'../x' cannot be a name", "lower-case"),
    ("suites.bookworm.python", "3.11.2", "'3.11.2' cannot be used", "such as 3.11"),
    ("suites.bookworm.python", MISSING, "is missing", "a string"),
    ("suites.bookworm.glibc", 2.36, "2.36 is not a string", "write a string"),
    ("suites.bookworm.glibc", "2", "'2' cannot be used", "such as 2.36"),
    ("suites.bookworm.image", "debian:12", "'debian:12' does not name one image", "tag and digest"),
    ("suites.bookworm.image", f"debian@{DIGEST}", "does not name one image", "tag and digest"),
    ("suites.bookworm.image", f"Debian:12@{DIGEST}", "does not name one image", "tag and digest"),
    ("suites.bookworm.image", f"debian:12@{DIGEST[:-1]}", "does not name one", "tag and digest"),
    ("suites.bookworm.image", f"debian:12@{DIGEST}\n", "does not name one image", "tag and digest"),
    ("docker", [], "[] is not a table", "write a table"),
    ("docker.build-packages", "pip", "'pip' is not a list of strings", "write a list of strings"),
    ("docker.project-files", ["../x"], "'../x' is not a path in the repository", "write it as"),
    ("docker.project-files", ["/x"], "'/x' is not a path in the repository", "write it as"),
    ("images.base.dockerfile", "README.md", "'README.md' is not a Dockerfile's name", "write it"),
    ("images.base.dockerfile", "../Dockerfile", "'../Dockerfile' is not a path", "write it as"),
    ("images.base.dockerfile", "a b/Dockerfile", "is not a Dockerfile's name", "write it as"),
    ("images.base.dockerfile", "", "'' is not a Dockerfile's name", "write it as"),
    ("images.base.docker-lines", "RUN true", "is not a list of strings", "write a list of strings"),
    ("images.base.docker-lines", [""], "'' is not an instruction", "start it with ADD, ARG, COPY"),
    ("images.base.docker-lines", ["RUN"], "'RUN' is not an instruction", "start it with ADD"),
    ("images.base.docker-lines", ["run true"], "'run true' is not an instruction", "start it with"),
    ("images.base.docker-lines", ["true"], "'true' is not an instruction", "start it with ADD"),
    ("images.base.docker-lines", ["ONBUILD RUN true"], "'ONBUILD RUN true' is not", "start it"),
    ("images.base.docker-lines", ["FROM scratch"], "FROM cannot be used", "a key for it: 'from'"),
    ("images.base.docker-lines", ["from x"], "FROM cannot be used", "a key for it: 'from'"),
    ("images.base.docker-lines", ["USER 0"], "USER cannot be used", "a key for it: 'user'"),
    ("images.base.docker-lines", ["ENV A=b"], "ENV cannot be used", "for it: 'environment'"),
    ("images.base.docker-lines", ["RUN a\nUSER 0"], "'RUN a' is not one instruction", "backslash"),
    ("images.base.docker-lines", ["RUN a \\"], "is not one instruction", "backslash"),
    ("images.base.docker-lines", ["# a\nFROM b"], "'# a' is not one instruction", "backslash"),
    ("images.base.docker-lines", ["RUN a\u0000b"], "holds a control character", "remove it"),
    ("images.base.docker-lines", ["RUN a\rFROM b"], "holds a control character", "remove it"),
    ("images.base.docker-lines", ["RUN a \\ "], "is not one instruction", "with a backslash"),
    ("images.base.docker-lines", ["RUN <<EOF"], "has a here-document", "with backslashes"),
    ("images.base.docker-lines", ["COPY <<-'EOF' /x"], "has a here-document", "with backslashes"),
    ("images.base.docker-build-lines", ["CMD a"], "CMD cannot be used", "a key for it: 'command'"),
    ("images.base.description", 1, "1 is not a string", "write a string"),
    ("images.base.packages", "python3", "'python3' is not a list of strings", "write a list"),
    ("images.base.packages", ["{pyton}"], "unknown placeholder '{pyton}'", "use {python}"),
    ("images.base.environment", {"A": "{x}"}, "unknown placeholder '{x}'", "use {python}"),
    ("images.base.project", "yes", "'yes' is not true or false", "write true or false"),
    ("images.base.workdir", "app", "'app' is not a path inside an image", "/app/models"),
    ("images.base.workdir", "//app", "'//app' is not a path inside an image", "/app/models"),
    ("images.base.volumes", ["/a/"], "'/a/' is not a path inside an image", "/app/models"),
    ("images.base.volumes", ["/a/../b"], "'/a/../b' is not a path", "/app/models"),
    ("images.base.directories", ["/"], "'/' is not a path inside an image", "/app/models"),
    ("images.base.links", {"bin/x": "y"}, "'bin/x' is not a path inside an image", "/app/models"),
    ("images.base.ports", ["http"], "'http' is not a port", '"8000/tcp"'),
    ("images.base.ports", ["0"], "'0' is not a port", '"8000/tcp"'),
    ("images.base.ports", ["65536"], "'65536' is not a port", '"8000/tcp"'),
    ("images.base.ports", ["80/http"], "'80/http' is not a port", '"8000/tcp"'),
    ("images.base.ports", ["80/"], "'80/' is not a port", '"8000/tcp"'),
    ("images.base.ports", ["080"], "'080' is not a port", '"8000/tcp"'),
    ("images.base.ports", ["²"], "'²' is not a port", '"8000/tcp"'),
    ("images.base.ports", [80], "[80] is not a list of strings", "write a list of strings"),
    ("images.base.entrypoint", "sh", "'sh' is not a list of strings", "write a list of strings"),
    ("images.base.bytecode", 1, "1 is not true or false", "write true or false"),
    ("images.base.from", "bas", "names 'bas', which is not described", "did you mean 'base'?"),
    ("images.base.from", "alpine", "names 'alpine', which is not described", "choose base"),
    ("images.production.user", "app", "'app' is not a table", "write a table"),
    ("images.production.user.name", "Root", "'Root' cannot be used", "a POSIX user name"),
    ("images.production.user.uid", -1, "-1 is out of range", "use 0 to 65535"),
    ("images.production.user.gid", 65536, "65536 is out of range", "use 0 to 65535"),
    ("images.production.user.home", MISSING, "is missing", "a string"),
    ("images.production.files", {}, "{} is not a list of tables", "write a list of tables"),
    ("images.production.files[0].mode", "0888", "'0888' is not a mode", '"0644"'),
    ("images.production.files[0].mode", 644, "644 is not a string", "write a string"),
    ("images.production.files[0].path", "b", "'b' is not a path inside an image", "/app/models"),
    ("images.production.files[0].source", MISSING, "is missing", "a string"),
    ("images.production.healthcheck.test", [], "does not start with CMD", 'write ["CMD"'),
    ("images.production.healthcheck.test", ["curl"], "does not start with CMD", 'write ["CMD"'),
    ("images.production.healthcheck.retries", 0, "0 is out of range", "use 1 to 100"),
    ("images.production.healthcheck.interval_s", -1, "-1 is not a number of seconds", "write"),
    ("images.production.healthcheck.interval_s", "30s", "'30s' is not a number", "write"),
    ("images.production.healthcheck.timeout_s", float("inf"), "inf is not a number", "write"),
    ("images.production.healthcheck.timeout_s", float("nan"), "nan is not a number", "write"),
]


@pytest.mark.parametrize(("dotted", "value", "problem", "advice"), WRONG)
def test_a_wrong_value_is_one_line_with_file_key_value_and_advice(
    dotted: str, value: Any, problem: str, advice: str
) -> None:
    text = refusal(dotted, value)
    place, _, said = text.removeprefix("deployment/images.toml: ").partition("; ")
    assert text.startswith("deployment/images.toml: ")
    assert place.startswith(dotted)
    assert problem in place
    assert advice in said


def test_the_default_suite_must_be_described_to_be_asked_for() -> None:
    settings = parse()
    assert settings.suite() is settings.suite("bookworm")
    with pytest.raises(SettingsInvalid, match="suite 'trixy' is not described in deployment/"):
        settings.suite("trixy")


@pytest.mark.parametrize("value", ["{", "}", "100%", "a } b {", "{{x}}"])
def test_a_brace_alone_is_no_placeholder(value: str) -> None:
    settings = parse(changed("images.base.environment", {"A": value}))
    assert settings.images["base"].environment == {"A": value}


def test_placeholders_are_filled_in_from_the_suite() -> None:
    suite = parse().suite()
    assert fill_in("{suite}/python{python}/{python}", suite) == "bookworm/python3.11/3.11"
    assert suite.site_packages == "usr/local/lib/python3.11/dist-packages"


# Files that cannot be read.


def test_a_missing_description_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsUnreadable, match=r"^deployment/images.toml does not exist; run"):
        read_settings(tmp_path)


def test_a_description_that_is_not_toml_names_the_line() -> None:
    with pytest.raises(SettingsUnreadable, match=r"images.toml is not TOML: .*line 2"):
        parse_settings("a = 1\nb = ?\n", root=Path(), path=DESCRIPTION)


@pytest.mark.parametrize("make", ["folder", "bytes"])
def test_a_description_that_is_no_text_is_one_line(tmp_path: Path, make: str) -> None:
    path = tmp_path / DESCRIPTION
    path.parent.mkdir()
    path.mkdir() if make == "folder" else path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsUnreadable, match=r"^deployment/images.toml cannot be read \("):
        read_settings(tmp_path)


def test_a_description_elsewhere_is_named_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(SettingsUnreadable, match=f"^{tmp_path}/x.toml does not exist"):
        read_settings(REPOSITORY, tmp_path / "x.toml")


# Images on images.


def test_an_unknown_target_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownTarget) as caught:
        parse().chain("prodution")
    assert str(caught.value) == (
        "target 'prodution' is not described in deployment/images.toml; "
        "did you mean 'production'? choose base, production, development"
    )


def test_a_chain_begins_with_the_lowest() -> None:
    names = [image.name for image in parse().chain("development")]
    assert names == ["base", "production", "development"]


@pytest.mark.parametrize("base", ["debian:12", "ghcr.io/x/y", "python@sha256:0"])
def test_a_base_may_come_from_a_registry(base: str) -> None:
    document = changed("images.production.from", base)
    document["images"]["development"].pop("packages", None)
    settings = parse(document)
    assert settings.registry_base("base") is None
    assert settings.registry_base("production") == base
    assert settings.registry_base("development") == base
    assert [image.name for image in settings.chain("development")] == ["production", "development"]


def test_debian_packages_on_a_base_from_a_registry_are_refused() -> None:
    document = changed("images.production.from", "python:3.11-slim")
    document["images"]["development"]["packages"] = ["git"]
    with pytest.raises(SettingsInvalid) as caught:
        parse(document)
    assert "images.development.packages" in str(caught.value)
    assert "'python:3.11-slim'" in str(caught.value)
    assert "docker-lines" in str(caught.value)


@pytest.mark.parametrize("base", ["base", "development"])
def test_an_image_on_itself_is_refused(base: str) -> None:
    settings = parse(changed("images.base.from", base))
    with pytest.raises(SettingsInvalid, match=r"images.base is based on itself; remove one"):
        settings.chain("base")


def test_what_a_container_gets_is_inherited_and_overridden() -> None:
    merged = parse().merged("development")
    assert merged.user == User("app", 1000, 1001, "/app")
    assert merged.environment == {"PATH": "/usr/bin", "LANG": "C.UTF-8"}
    assert merged.labels == {"level": "production", "kept": "yes"}
    assert merged.ports == ("80/tcp", "8000/tcp", "53/udp")
    assert merged.volumes == ("/data", "/app/models")
    assert merged.workdir == "/app"
    assert merged.stop_signal == "SIGINT"
    assert merged.healthcheck is not None
    assert merged.command == ("bash",)


def test_an_empty_entrypoint_takes_the_inherited_one_away() -> None:
    settings = parse()
    assert settings.merged("production").entrypoint == ("/usr/bin/python",)
    assert settings.merged("development").entrypoint == ()


def test_what_fills_layers_is_not_inherited() -> None:
    merged = parse().merged("development")
    assert (merged.packages, merged.files, merged.links, merged.project) == ((), (), {}, False)


@pytest.mark.parametrize(
    ("dotted", "value", "words"),
    [
        ("images.production.files[0].source", "/etc/hostname", "not a path in the repository"),
        ("images.production.files[0].source", "../secret", "not a path in the repository"),
        ("images.production.requirements", "../other.txt", "not a path in the repository"),
        ("images.base.stop-signal", "SIGFOO", "no signal"),
        ("images.production.user.name", "root", "root is uid 0"),
        ("images.production.user.uid", 0, "root is uid 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(dotted: str, value: object, words: str) -> None:
    with pytest.raises(SettingsInvalid, match=words):
        parse(changed(dotted, value))


def test_a_mistyped_key_that_has_to_be_there_is_named() -> None:
    document = changed("images.production.user.uid", MISSING)
    document["images"]["production"]["user"]["uidd"] = 1000
    with pytest.raises(SettingsInvalid, match=r"user\.uidd'; did you mean 'uid'\?"):
        parse(document)


# Dockerfiles.


def test_what_is_said_of_dockerfiles_arrives() -> None:
    document = changed("images.base.docker-lines", ["RUN a \\\n    && b", "# why", "COPY a /b"])
    document["images"]["base"]["docker-build-lines"] = ["ENV CC=gcc"]
    document["images"]["development"]["dockerfile"] = "docker/Dockerfile.development"
    document["suites"]["bookworm"]["image"] = f"r.example:5000/debian:12-slim@{DIGEST}"
    document["docker"] = {"build-packages": ["pip{python}"], "project-files": ["./src", "x"]}
    settings = parse(document)
    base = settings.images["base"]
    assert base.docker_lines == ("RUN a \\\n    && b", "# why", "COPY a /b")
    assert base.docker_build_lines == ("ENV CC=gcc",)
    assert base.dockerfile == "deployment/docker/Dockerfile"
    assert settings.images["development"].dockerfile == "docker/Dockerfile.development"
    assert settings.suite().image == f"r.example:5000/debian:12-slim@{DIGEST}"
    assert settings.docker.build_packages == ("pip{python}",)
    assert settings.docker.project_files == ("./src", "x")
    assert settings.filled(settings.suite()).docker.build_packages == ("pip3.11",)
    assert parse().docker.build_packages == ()


def test_braces_of_the_shell_are_no_placeholders() -> None:
    line = "RUN echo ${HOME} {a,b} | awk '{print}' {python}"
    settings = parse(changed("images.base.docker-lines", [line]))
    filled = settings.filled(settings.suite()).images["base"]
    assert filled.docker_lines == (line.replace("{python}", "3.11"),)


@pytest.mark.parametrize("key", ["docker-lines", "docker-build-lines"])
def test_own_lines_ask_for_docker_in_every_image_above(key: str) -> None:
    settings = parse(changed(f"images.production.{key}", ["RUN true"]))
    assert [settings.needs_docker(name) for name in ("base", "production", "development")] == [
        False,
        True,
        True,
    ]
    assert [settings.images[name].needs_docker for name in settings.images] == [False, True, False]
