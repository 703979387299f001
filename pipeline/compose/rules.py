"""What is asked of Compose files beyond the specification: each rule by name.

Findings are of one of RULES, of `specification` or of `interpolation`.

A rule looks at the merged, interpolated project with the defaults of its variables, which
is what a person gets who sets nothing.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.compose.document import Path_, Project, strings, uses
from pipeline.findings import Finding
from pipeline.settings import Settings, fill_in

# What may be on by default; the rest needs a profile of its own name.
ALWAYS = ("accelerapp", "ollama")
STATUSES = ("service_started", "service_healthy", "service_completed_successfully")
DEVELOPMENT = "development"


@dataclass(frozen=True)
class Facts:
    """What the files have to agree with."""

    root: Path
    settings: Settings
    documented: Mapping[str, str | None]


Found = Iterator[tuple[Path_, str]]
Rule = Callable[[Project, Facts], Found]
RULES: dict[str, Rule] = {}


def _rule(name: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES[name] = rule
        return rule

    return register


def findings(project: Project, facts: Facts) -> list[Finding]:
    """Everything that is wrong with one combination of files."""
    found = [
        Finding(project.origin(path), "specification", message)
        for path, message in _against_specification(project)
    ]
    # A document of another shape would only say so again in other words.
    if not found:
        for name, rule in RULES.items():
            found += [
                Finding(project.origin(path), name, message)
                for path, message in rule(project, facts)
            ]
    return sorted(set(found))


@functools.cache
def _validator() -> Any:
    from jsonschema import Draft7Validator

    text = files("pipeline.compose").joinpath("compose-spec.json").read_text(encoding="utf-8")
    return Draft7Validator(json.loads(text))


def _against_specification(project: Project) -> Found:
    for error in _validator().iter_errors(project.data):
        # Of alternatives, what the likeliest one lacks says more than that none fits.
        told = error
        while told.context:
            told = max(told.context, key=lambda inner: len(inner.absolute_path))
        yield tuple(told.absolute_path), told.message[:200]


def _services(project: Project) -> Iterator[tuple[Path_, str, dict[str, Any]]]:
    for name, service in project.services.items():
        yield ("services", name), name, service


def _wanted(key: str, value: Any, message: str) -> Rule:
    """A rule: every service has `key` set to `value`."""

    def rule(project: Project, facts: Facts) -> Found:
        for path, name, service in _services(project):
            if service.get(key) != value:
                yield (*path, key), f"{name}: {message}"

    return rule


_rule("writable-root")(
    _wanted("read_only", True, "its root can be written; set read_only: true, and tmpfs or volumes")
)


@_rule("published-everywhere")
def _published(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        for index, port in enumerate(service.get("ports", [])):
            address = _address(port)
            if address not in ("127.0.0.1", "::1"):
                shown = address or "every address"
                yield (
                    (*path, "ports", index),
                    f"{name}: published on {shown}; begin with ${{ACCELERAPP_BIND:-127.0.0.1}}:",
                )


def _address(port: Any) -> str:
    if isinstance(port, dict):
        return str(port.get("host_ip", ""))
    parts = re.fullmatch(r"(?:(\[[^\]]*\]|[^:]*):)?([^:]*):([^:]*)", str(port))
    return (parts[1] or "").strip("[]") if parts else ""


def container_port(port: Any) -> int:
    """The port inside of the container, 0 where it cannot be told."""
    text = str(port.get("target", "")) if isinstance(port, dict) else str(port)
    text = text.rpartition(":")[2].partition("/")[0]
    return int(text) if text.isdigit() else 0


@_rule("no-limits")
def _limits(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        deploy = service.get("deploy") or {}
        limits = (deploy.get("resources") or {}).get("limits") or {}
        for key, instead in (("memory", "mem_limit"), ("cpus", "cpus"), ("pids", "pids_limit")):
            if key not in limits and instead not in service:
                yield path, f"{name}: no limit of {key}; set deploy.resources.limits.{key}"


@_rule("no-health-check")
def _health(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        check = service.get("healthcheck") or {}
        test = check.get("test")
        if check.get("disable") or not test or test in (["NONE"], "NONE"):
            yield (*path, "healthcheck"), f"{name}: nothing looks whether it works; set a test"
        elif isinstance(test, str) or test[0] != "CMD":
            yield (
                (*path, "healthcheck", "test"),
                f'{name}: the test needs a shell, which images do not have; begin with "CMD"',
            )


@_rule("health-check-differs")
def _same_health(project: Project, facts: Facts) -> Found:
    suite = facts.settings.suite()
    for path, name, service in _services(project):
        target = _target(service)
        if target is None or target not in facts.settings.images:
            continue
        wanted = facts.settings.merged(target).healthcheck
        test = (service.get("healthcheck") or {}).get("test")
        if wanted and test and test != [fill_in(part, suite) for part in wanted.test]:
            yield (
                (*path, "healthcheck", "test"),
                f"{name}: another test than images.toml has for {target}",
            )


@_rule("unpinned-image")
def _pinned(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        image = str(service.get("image", ""))
        tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
        if not image:
            yield path, f"{name}: no image; name it, with a tag"
        elif tag == "latest" or (not tag and "@sha256:" not in image):
            yield (*path, "image"), f"{name}: {image} can be another image tomorrow; give a tag"
        elif _target(service) is None and not re.search(r"@sha256:[0-9a-f]{64}$", image):
            yield (*path, "image"), f"{name}: {image} is not ours; give its digest besides"


def _target(service: Mapping[str, Any]) -> str | None:
    """Which of our images a service runs, by its build; None for those of others."""
    build = service.get("build")
    return str(build.get("target")) if isinstance(build, dict) else None


@_rule("unknown-image")
def _known_image(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        target = _target(service)
        if target is None:
            continue
        if target not in facts.settings.images:
            known = ", ".join(facts.settings.images)
            yield (*path, "build", "target"), f"{name}: images.toml has no {target}; it has {known}"
            continue
        image, expected = str(service.get("image", "")), f"{facts.settings.name}:{target}"
        if image != expected:
            yield (
                (*path, "image"),
                f"{name}: {image} by default, where 'invoke load' makes {expected}",
            )
        build = service["build"]
        wanted = facts.settings.merged(target).dockerfile
        if build.get("dockerfile") != str(wanted):
            yield (*path, "build", "dockerfile"), f"{name}: {target} is built from {wanted}"


@_rule("port-differs")
def _ports(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        target = _target(service)
        if target is None or target not in facts.settings.images:
            continue
        exposed = {port.partition("/")[0] for port in facts.settings.merged(target).ports}
        for index, port in enumerate(service.get("ports", [])):
            if str(container_port(port)) not in exposed:
                yield (
                    (*path, "ports", index),
                    f"{name}: nothing listens on {container_port(port)};"
                    f" {target} has {', '.join(sorted(exposed)) or 'no port'}",
                )


@_rule("no-restart")
def _restart(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        if str(service.get("restart", "no")) not in ("always", "unless-stopped", "on-failure"):
            yield (
                (*path, "restart"),
                f"{name}: stays down once it ends; set restart: unless-stopped",
            )


@_rule("root")
def _root(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        user = str(service.get("user", ""))
        if not re.fullmatch(r"[1-9][0-9]*(:[1-9][0-9]*)?", user):
            yield (
                (*path, "user"),
                f"{name}: may run as root; set user to numbers, such as 1000:1000",
            )


@_rule("capabilities")
def _capabilities(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        if [str(capability).upper() for capability in service.get("cap_drop", [])] != ["ALL"]:
            yield (*path, "cap_drop"), f"{name}: keeps capabilities; set cap_drop: [ALL]"
        if service.get("cap_add"):
            yield (*path, "cap_add"), f"{name}: adds capabilities; leave cap_add out"


@_rule("privileged")
def _privileged(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        if service.get("privileged"):
            yield (*path, "privileged"), f"{name}: is root of this machine; leave privileged out"
        if service.get("devices"):
            yield (*path, "devices"), f"{name}: has devices of this machine; leave them out"


@_rule("new-privileges")
def _new_privileges(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        options = [str(option).replace("=", ":") for option in service.get("security_opt", [])]
        if not {"no-new-privileges:true", "no-new-privileges"} & set(options):
            yield (
                (*path, "security_opt"),
                f"{name}: may gain privileges; set security_opt: [no-new-privileges:true]",
            )
        for option in options:
            if option.endswith(":unconfined"):
                yield (*path, "security_opt"), f"{name}: {option} takes a protection away"


@_rule("host-namespace")
def _host(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        for key in ("network_mode", "pid", "ipc", "userns_mode", "uts", "cgroup"):
            if str(service.get(key, "")).startswith("host"):
                yield (*path, key), f"{name}: {key}: host is no isolation; leave it out"


@_rule("own-network")
def _network(project: Project, facts: Facts) -> Found:
    declared = project.data.get("networks") or {}
    for path, name, service in _services(project):
        networks = service.get("networks") or []
        if not networks:
            yield path, f"{name}: is in the default network; name one of the project's own"
        for network in networks:
            if network not in declared:
                yield (*path, "networks"), f"{name}: network {network} is not declared"
    for network, options in declared.items():
        if (options or {}).get("driver", "bridge") != "bridge" or (options or {}).get("external"):
            yield ("networks", network), f"{network}: not a bridge of the project's own"


@_rule("volumes")
def _volumes(project: Project, facts: Facts) -> Found:
    declared = project.data.get("volumes") or {}
    used = set()
    for path, name, service in _services(project):
        for index, volume in enumerate(service.get("volumes", [])):
            place = (*path, "volumes", index)
            if isinstance(volume, dict):
                source = str(volume.get("source", ""))
                writable = not volume.get("read_only")
            else:
                source, _, rest = str(volume).partition(":")
                writable = "ro" not in rest.rpartition(":")[2].split(",")
            if "docker.sock" in source:
                yield place, f"{name}: with Docker's socket it is root of this machine"
            elif source.startswith((".", "/", "~")):
                if _target(service) != DEVELOPMENT or writable:
                    yield (
                        place,
                        f"{name}: a folder of this machine; use a named volume, or for"
                        " development :ro",
                    )
            elif source not in declared:
                yield place, f"{name}: volume {source} is not declared"
            used.add(source)
    for volume in declared:
        if volume not in used:
            yield ("volumes", volume), f"{volume}: declared, and nothing mounts it"


@_rule("depends-on")
def _depends(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        depends = service.get("depends_on") or {}
        if not isinstance(depends, dict):
            yield (
                (*path, "depends_on"),
                f"{name}: says not what it waits for; give each a condition",
            )
            continue
        for other, how in depends.items():
            place = (*path, "depends_on", other)
            needed = project.services.get(other)
            if needed is None:
                yield place, f"{name}: there is no service {other}"
                continue
            condition = (how or {}).get("condition")
            if condition not in STATUSES:
                yield place, f"{name}: {other} has no condition; give one of {', '.join(STATUSES)}"
            optional = bool(needed.get("profiles")) and needed.get("profiles") != service.get(
                "profiles"
            )
            if optional and (how or {}).get("required", True):
                yield (
                    place,
                    f"{name}: {other} is only there with its profile; set required: false",
                )


@_rule("optional")
def _optional(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        profiles = service.get("profiles") or []
        if name not in ALWAYS and profiles != [name]:
            yield path, f"{name}: is always on; set profiles: [{name}]"
        if name in ALWAYS and profiles:
            yield (*path, "profiles"), f"{name}: is part of every stack; leave profiles out"
        reservations = ((service.get("deploy") or {}).get("resources") or {}).get("reservations")
        overlay = any("gpu" in file for file in project.overlays)
        if (reservations or {}).get("devices") and not overlay:
            yield (
                (*path, "deploy", "resources", "reservations"),
                f"{name}: a GPU is needed; put that into docker-compose.gpu.yml",
            )


_SECRET = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|CREDENTIALS)", re.I)


@_rule("secret")
def _secret(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        given = service.get("environment") or {}
        pairs = (
            given.items()
            if isinstance(given, dict)
            else (str(entry).partition("=")[::2] for entry in given)
        )
        for key, value in pairs:
            text = str(value if value is not None else "")
            # By default: a value that everybody who reads the file knows.
            if text and (_SECRET.search(str(key)) or re.search(r"://[^/@\s]*:[^/@\s]+@", text)):
                yield (
                    (*path, "environment"),
                    f"{name}: {key} has a secret in the file; take it from a variable",
                )


@_rule("no-log-limit")
def _logs(project: Project, facts: Facts) -> Found:
    for path, name, service in _services(project):
        options = (service.get("logging") or {}).get("options") or {}
        if "max-size" not in options:
            yield (*path, "logging"), f"{name}: its log fills the disk; set max-size and max-file"


@_rule("variables")
def _variables(project: Project, facts: Facts) -> Found:
    used: dict[str, set[str]] = {}
    for file in project.files:
        for path, text in strings(file.data):
            for use in uses(text):
                used.setdefault(use.name, set())
                if use.operator == "":
                    yield path, f"{use.name}: has no default; write ${{{use.name}:-…}}"
                if use.operator in ("-", ":-") and "$" not in use.argument:
                    used[use.name].add(use.argument)
                if use.name not in facts.documented:
                    yield path, f"{use.name}: is not in .env.example; say there what it is for"
    for name, value in facts.documented.items():
        defaults = used.get(name, set()) - {""}
        if value is not None and defaults and defaults != {value}:
            shown = ", ".join(sorted(defaults))
            yield ("services",), f"{name}: {value!r} in .env.example, and here {shown!r}"


def unused(projects: list[Project], documented: Mapping[str, str | None]) -> list[str]:
    """Variables that .env.example explains and no file reads. Compose's own do not count."""
    read = {
        use.name
        for project in projects
        for file in project.files
        for _, text in strings(file.data)
        for use in uses(text)
    }
    return sorted(set(documented) - read - {"COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"})
