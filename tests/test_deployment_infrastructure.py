"""What is deployed, and what makes and watches it: each file by itself, as it is committed.

Nothing here is rendered by what renders the files: what a Dockerfile, a manifest or a workflow has
to say is taken from `deployment/images.toml`, its lock and the code that is deployed.  `nox -s
mutants` spoils these files one place at a time, and counts what goes unnoticed.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import tasks
from tests.infrastructure.cluster import (
    CONTAINER_SECURITY,
    POD_SECURITY,
    Part,
    internet,
    names,
    reached,
    selector,
    to,
)
from tests.infrastructure.dockerfiles import Run, is_sent, sources
from tests.infrastructure.guides import GUIDES, PROGRAMS, commands_of, task_and_flags, task_exists
from tests.infrastructure.images import (
    COMPILED,
    FILE_OF,
    FILES,
    INTO_STAGED,
    ONE_TIME,
    OWN_WHEEL,
    PIP_CACHE,
    READABLE,
    SITE,
    STAGES,
    apt_run,
    dockerfile,
    pins,
    pip_pins,
    pip_run,
    stage_of,
    stage_with_packages,
    user_run,
)
from tests.infrastructure.release import (
    API_VERSIONS,
    EVERY_PART,
    KINDS,
    MANIFEST,
    NAMESPACE,
    PROGRAM,
    SERVICE_DEFAULTS,
    VERSION,
    Release,
    helm_template,
    release_of,
    version_of,
)
from tests.infrastructure.repository import (
    DEPLOYED,
    DOCKER,
    IMAGES,
    LOCKED,
    ROOT,
    SETTINGS,
    SUITE,
    merged_image,
    port_of,
    text_of,
    yaml_of,
)
from tests.infrastructure.stack import (
    BASE,
    DEV,
    GPU,
    HARDENED,
    OLLAMA,
    OLLAMA_PORT,
    redis_directives,
    service,
    stack,
)
from tests.infrastructure.watcher import PATIENCE_S, application, watching
from tests.infrastructure.workflows import (
    CACHE_KEY,
    EVERY_JOB,
    EVERY_WORKFLOW,
    IDENTITIES,
    JOBS,
    NOT_FROM_A_FORK,
    ON_A_PULL_REQUEST,
    PUSHES,
    READ_FROM_ENVIRONMENT,
    READS_HISTORY,
    RUNNER,
    SETUP_ACTION,
    TRIGGERS,
    VARIABLES_OF_STEPS,
    WITH_KEY,
    WITH_KEYLESS,
    WORKFLOWS,
    expression,
    is_own_action,
    jobs,
    steps_using,
    without_descriptions,
    workflow,
)


class TestDockerConfiguration:
    """Dockerfiles, what is sent to an engine, and the stack in Compose."""

    @pytest.mark.parametrize("path", FILES)
    def test_stages_start_from_a_digest_or_from_each_other(self, path: str) -> None:
        found = dockerfile(path)
        assert {name: stage.start for name, stage in found.stages.items()} == STAGES[path]
        # A build without --target makes the last one.
        assert list(found.stages)[-1] == FILES[path][-1]
        assert SUITE.image is not None
        assert re.fullmatch(r"debian:[a-z0-9-]+@sha256:[0-9a-f]{64}", SUITE.image)
        assert found.arguments == {
            "DEBIAN_IMAGE": SUITE.image,
            "SOURCE_DATE_EPOCH": str(LOCKED.suites[SUITE.name].epoch_s),
        }

    @pytest.mark.parametrize("path", FILES)
    def test_packages_are_those_of_the_lock_and_apt_leaves_nothing(self, path: str) -> None:
        stages = dockerfile(path).stages
        lowest = next(iter(stages)).removesuffix("-packages")
        links = IMAGES[lowest].links.items()
        first = next(iter(stages.values()))
        assert first.runs == [
            apt_run(pins(lowest), *(f"ln -sfn {to} {link}" for link, to in links))
        ]
        build = stages["build"]
        assert build.runs == [apt_run(pip_pins())]
        assert build.pairs("ENV") == {
            "PIP_CACHE_DIR": PIP_CACHE,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }

    def test_the_workshop_has_its_packages(self) -> None:
        assert stage_of("development").runs == [apt_run(pins("development"))]

    def test_the_project_s_wheel_is_built_from_its_own_files_without_an_index(self) -> None:
        wheel = dockerfile("deployment/docker/Dockerfile").stages["wheel"]
        command = "python3 -m pip install --target=/opt/back-end"
        install, build = wheel.runs
        assert install == pip_run("requirements/build.txt", command)
        assert build == Run(
            frozenset(),
            (
                "chmod -R u=rwX,go=rX /source",
                "PYTHONPATH=/opt/back-end PYTHONHASHSEED=0 python3 -m pip wheel --no-deps"
                " --no-index --no-build-isolation --wheel-dir=/wheels /source",
                "set -- /wheels/*.whl",
                'name="${1##*/}"',
                'echo "${name%%-*}" >/wheels/requirements.txt',
            ),
        )
        copied = {f"{name} /source/{name}" for name in SETTINGS.docker.project_files}
        assert set(wheel.all("COPY")) == copied
        # What a back end writes into the archive is of that time.
        assert wheel.all("ARG") == ["SOURCE_DATE_EPOCH"]

    @pytest.mark.parametrize("image", ["development", "production", "monitoring"])
    def test_what_is_installed_has_a_hash_and_is_no_source(self, image: str) -> None:
        build = dockerfile(FILE_OF[image]).stages[f"{image}-build"]
        requirements = IMAGES[image].requirements
        assert requirements is not None
        install = pip_run(requirements, f"{INTO_STAGED} --only-binary=:all:")
        finish = Run(frozenset(), (READABLE, COMPILED, ONE_TIME))
        own = [OWN_WHEEL] if IMAGES[image].project else []
        assert build.runs == [install, *own, finish]
        assert build.all("ARG") == ["SOURCE_DATE_EPOCH"]
        files = {f"{file.source} /staged{file.path}" for file in IMAGES[image].files}
        assert set(build.all("COPY")) == files
        text = text_of(requirements)
        named = re.findall(r"^([a-z0-9][\w.-]*)==\S+", text, re.MULTILINE)
        assert named
        assert text.count("--hash=sha256:") >= len(named)

    @pytest.mark.parametrize("image", ["development", *DEPLOYED])
    def test_an_image_gets_what_was_staged_for_it_and_nothing_else(self, image: str) -> None:
        staged = f"--from={image}-build /staged"
        local = [f"{staged}/usr/local/ /usr/local/"] if IMAGES[image].requirements else []
        files = [
            f"{staged}{file.path} {file.path}"
            for file in IMAGES[image].files
            if not file.path.startswith("/usr/local/")
        ]
        assert stage_of(image).all("COPY") == [*local, *files]

    def test_redis_s_configuration_is_staged(self) -> None:
        build = dockerfile("deployment/docker/Dockerfile.redis").stages["redis-build"]
        (file,) = IMAGES["redis"].files
        assert build.all("COPY") == [f"{file.source} /staged{file.path}"]
        assert build.runs == [Run(frozenset(), (READABLE, ONE_TIME))]
        assert build.all("ARG") == ["SOURCE_DATE_EPOCH"]

    @pytest.mark.parametrize("image", DEPLOYED)
    def test_what_is_deployed_is_not_root_and_cannot_install_or_compile(self, image: str) -> None:
        stage = stage_of(image)
        user = merged_image(image).user
        assert user is not None
        assert (user.uid, user.gid) == (1000, 1000)
        assert stage.one("USER") == "1000:1000"
        # Nothing is written as root afterwards.
        names = [name for name, _ in stage.steps]
        assert names.index("USER") > max(names.index("RUN"), names.index("COPY"))
        assert stage.runs == [user_run(image)]
        said = " ".join(stage.all("RUN"))
        below = " ".join(stage_with_packages("base" if image != "redis" else "redis").all("RUN"))
        for tool in ("pip", "gcc", "build-essential", "pytest", "git", "curl"):
            assert tool not in said + below

    @pytest.mark.parametrize(
        ("path", "image"),
        [(path, image) for path, found in STAGES.items() for image in found if image in IMAGES],
    )
    def test_a_container_is_configured_as_the_description_says(self, path: str, image: str) -> None:
        own, stage = IMAGES[image], dockerfile(path).stages[image]
        assert stage.pairs("ENV") == dict(own.environment)
        labels = {"org.opencontainers.image.description": own.description, **own.labels}
        if own.base is None:
            labels = {**SETTINGS.labels, **labels}
        assert stage.pairs("LABEL") == labels
        assert stage.all("EXPOSE") == list(own.ports)
        assert stage.all("WORKDIR") == ([own.workdir] if own.workdir else [])
        assert stage.all("STOPSIGNAL") == ([own.stop_signal] if own.stop_signal else [])
        assert (stage.listed("VOLUME") if own.volumes else []) == list(own.volumes)
        # Debian's image has a command, which nobody is to inherit.
        said = own.entrypoint or image == "base"
        entry = [json.dumps(list(own.entrypoint or ()))] if said else []
        assert stage.all("ENTRYPOINT") == entry
        assert stage.listed("CMD") == list(own.command or ())

    @pytest.mark.parametrize("image", DEPLOYED)
    def test_its_health_is_asked_for_without_a_shell(self, image: str) -> None:
        check = IMAGES[image].healthcheck
        assert check is not None
        said, _, command = stage_of(image).one("HEALTHCHECK").partition(" CMD ")
        assert ["CMD", *json.loads(command)] == list(check.test)
        assert said.split() == [
            f"--interval={check.interval_s:g}s",
            f"--timeout={check.timeout_s:g}s",
            f"--start-period={check.start_period_s:g}s",
            f"--retries={check.retries}",
        ]

    @pytest.mark.parametrize("image", ["production", "monitoring"])
    def test_what_is_run_is_in_the_image(self, image: str) -> None:
        """The programs of entry point and health check: modules of what is copied."""
        probe = json.loads(stage_of(image).one("HEALTHCHECK").partition(" CMD ")[2])[-1]
        package, _, module = probe.removeprefix(f"{SITE}/").partition("/")
        assert any((ROOT / folder / package / module).is_file() for folder in (".", "src"))
        entry = stage_of(image).listed("ENTRYPOINT")
        if image == "production":
            assert '[project.scripts]\naccelerapp = "' in text_of("pyproject.toml")
            assert entry == ["/usr/local/bin/accelerapp"]
        else:
            assert entry == ["/usr/bin/python3", "-m", "monitoring.monitor"]
            assert (ROOT / "monitoring" / "monitor.py").is_file()

    @pytest.mark.parametrize("path", FILES)
    def test_everything_that_is_copied_is_sent_to_the_engine(self, path: str) -> None:
        ignore = text_of(".dockerignore")
        found = sources(dockerfile(path))
        assert found
        for source in found:
            assert (ROOT / source).exists(), source
            assert is_sent(source, ignore), source
        for kept_in in ("src/accelerapp/api.py", "monitoring/monitor.py"):
            assert is_sent(kept_in, ignore)

    def test_nothing_else_is_sent(self) -> None:
        ignore = text_of(".dockerignore")
        wanted = set().union(*(sources(dockerfile(path)) for path in FILES))
        allowed = {line[1:] for line in ignore.splitlines() if line.startswith("!")}
        assert allowed == wanted
        leftovers = [
            f"{folder}/{name}"
            for folder in ("src/accelerapp", "monitoring", "tests/unit/accelerapp")
            for name in (
                ".DS_Store", ".mypy_cache/x", ".pytest_cache/x", ".ruff_cache/x",
                "__pycache__/x.pyc", "x.pyc",
            )
        ]  # fmt: skip
        for path in (
            ".git/config", "dist/images/index.json", ".venv/bin/python", ".env", "key.pem",
            "deployment/docker/.env", "tests/unit/test_documents.py", "deployment/images.lock",
            *leftovers,
        ):  # fmt: skip
            assert not is_sent(path, ignore), path

    # Compose.

    def test_the_stack_has_its_services_and_what_is_optional_has_a_profile(self) -> None:
        found = stack()
        assert found["name"] == "accelerapp"
        profiles = {name: one.get("profiles", []) for name, one in found["services"].items()}
        assert profiles == {
            "accelerapp": [],
            "ollama": [],
            "redis": ["redis"],
            "monitoring": ["monitoring"],
        }
        assert found["networks"] == {"accelerapp": {"driver": "bridge"}}
        assert set(found["volumes"]) == {"models", "cache", "output", "redis"}

    @pytest.mark.parametrize("name", ["accelerapp", "ollama", "redis", "monitoring"])
    def test_a_container_may_do_little(self, name: str) -> None:
        found = service(name)
        assert {key: found.get(key) for key in HARDENED} == HARDENED
        assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(found)

    @pytest.mark.parametrize(
        ("name", "cpus", "memory", "pids"),
        [
            ("accelerapp", "1.0", "256M", 128),
            ("ollama", "1.0", "4G", 512),
            ("redis", "0.5", "192M", 64),
            ("monitoring", "0.5", "128M", 64),
        ],
    )
    def test_a_container_has_limits(self, name: str, cpus: str, memory: str, pids: int) -> None:
        limits = {"cpus": cpus, "memory": memory, "pids": pids}
        assert service(name)["deploy"] == {"resources": {"limits": limits}}

    @pytest.mark.parametrize(
        ("name", "image"),
        [("accelerapp", "production"), ("redis", "redis"), ("monitoring", "monitoring")],
    )
    def test_our_images_are_built_from_our_dockerfiles(self, name: str, image: str) -> None:
        found = service(name)
        assert found["image"] == f"{SETTINGS.name}:{image}"
        assert found["build"] == {
            "context": "../..",
            "dockerfile": FILE_OF[image],
            "target": image,
        }
        other = service(name, ACCELERAPP_REPOSITORY="r.example/a", ACCELERAPP_VERSION="v1.2.3")
        assert other["image"] == f"r.example/a:v1.2.3-{image}"

    def test_ollama_s_image_has_a_version_and_a_digest(self) -> None:
        image = service("ollama")["image"]
        assert re.fullmatch(re.escape(OLLAMA) + "[0-9a-f]{64}", image)
        # The chart's is the same one.
        values = yaml_of(text_of("deployment/helm/accelerapp/values.yaml"))["ollama"]["image"]
        assert image == f"{values['repository']}:0.33.3@{values['digest']}"
        assert service("ollama", OLLAMA_IMAGE="other:1")["image"] == "other:1"
        limits = service("ollama", OLLAMA_CPUS="8", OLLAMA_MEMORY="9G")["deploy"]
        assert limits == {"resources": {"limits": {"cpus": "8", "memory": "9G", "pids": 512}}}

    @pytest.mark.parametrize(
        ("name", "image", "variable"),
        [
            ("accelerapp", "production", "ACCELERAPP_HOST_PORT"),
            ("monitoring", "monitoring", "MONITOR_HOST_PORT"),
        ],
    )
    def test_ports_are_published_on_loopback(self, name: str, image: str, variable: str) -> None:
        port = port_of(image)
        assert service(name)["ports"] == [f"127.0.0.1:{port}:{port}"]
        other = service(name, ACCELERAPP_BIND="0.0.0.0", **{variable: "99"})
        assert other["ports"] == [f"0.0.0.0:99:{port}"]
        for silent in ("ollama", "redis"):
            assert "ports" not in service(silent)

    def test_services_are_told_where_the_others_are(self) -> None:
        ollama = f"http://ollama:{OLLAMA_PORT}"
        assert service("accelerapp")["environment"] == {
            "ACCELERAPP_LOG_FORMAT": "plain",
            "ACCELERAPP_OLLAMA_MODEL": "llama3.2:1b",
            "ACCELERAPP_OUTPUT_DIR": "/app/output",
            "OLLAMA_HOST": ollama,
            "REDIS_URL": "",
        }
        assert service("monitoring")["environment"] == {
            "ACCELERAPP_URL": f"http://accelerapp:{port_of('production')}",
            "MONITOR_PROBE_INTERVAL_S": "5",
            "MONITOR_TOKEN": "",
            "OLLAMA_HOST": ollama,
            "REDIS_URL": "",
        }
        assert service("ollama")["environment"] == {
            "HOME": "/models",
            "OLLAMA_HOST": f"0.0.0.0:{OLLAMA_PORT}",
            "OLLAMA_MODELS": "/models",
        }
        given = {
            "ACCELERAPP_LOG_FORMAT": "json",
            "ACCELERAPP_OLLAMA_MODEL": "m",
            "ACCELERAPP_OLLAMA_HOST": "",
            "ACCELERAPP_REDIS_URL": "redis://redis:6379/0",
            "MONITOR_TOKEN": "t",
        }
        changed = service("accelerapp", **given)["environment"]
        assert (changed["ACCELERAPP_LOG_FORMAT"], changed["ACCELERAPP_OLLAMA_MODEL"]) == (
            "json",
            "m",
        )
        assert (changed["OLLAMA_HOST"], changed["REDIS_URL"]) == ("", given["ACCELERAPP_REDIS_URL"])
        watched = service("monitoring", **given)["environment"]
        assert (watched["OLLAMA_HOST"], watched["MONITOR_TOKEN"]) == ("", "t")
        assert watched["REDIS_URL"] == given["ACCELERAPP_REDIS_URL"]

    def test_volumes_are_those_of_the_images(self) -> None:
        volumes = {name: one.get("volumes", []) for name, one in stack()["services"].items()}
        assert volumes["accelerapp"] == [
            "models:/app/models",
            "cache:/app/cache",
            "output:/app/output",
        ]
        assert [one.partition(":")[2] for one in volumes["accelerapp"]] == list(
            IMAGES["production"].volumes
        )
        assert volumes["ollama"] == ["models:/models"]
        assert volumes["redis"] == [f"redis:{IMAGES['redis'].volumes[0]}"]
        assert volumes["monitoring"] == []

    def test_services_start_in_an_order_and_without_what_is_optional(self) -> None:
        assert service("accelerapp")["depends_on"] == {
            "redis": {"condition": "service_healthy", "required": False}
        }
        started = {"accelerapp": {"condition": "service_started"}}
        assert service("ollama")["depends_on"] == started
        assert service("monitoring")["depends_on"] == started
        assert "depends_on" not in service("redis")

    @pytest.mark.parametrize(
        ("name", "image", "interval", "timeout", "start", "retries"),
        [
            ("accelerapp", "production", "4s", "5s", "5s", 3),
            ("monitoring", "monitoring", "4s", "5s", "5s", 3),
            ("redis", "redis", "2s", "3s", "5s", 3),
            ("ollama", "", "4s", "5s", "15s", 5),
        ],
    )
    def test_health_is_asked_for_as_in_the_image(
        self, name: str, image: str, interval: str, timeout: str, start: str, retries: int
    ) -> None:
        check = IMAGES[image].healthcheck if image else None
        test = list(check.test) if check else ["CMD", "ollama", "list"]
        assert service(name)["healthcheck"] == {
            "test": test,
            "interval": interval,
            "timeout": timeout,
            "start_period": start,
            "retries": retries,
        }

    def test_the_gpu_is_in_a_file_of_its_own(self) -> None:
        assert yaml_of((DOCKER / GPU).read_text(encoding="utf-8")) == {
            "services": {
                "ollama": {
                    "deploy": {
                        "resources": {
                            "reservations": {
                                "devices": [
                                    {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
                                ]
                            }
                        }
                    }
                }
            }
        }

    def test_the_workshop_runs_the_checkout_s_source_and_cannot_write_it(self) -> None:
        found, before = service("accelerapp", DEV), service("accelerapp")
        assert found["image"] == f"{SETTINGS.name}:development"
        assert found["build"] == {**before["build"], "target": "development"}
        assert found["command"] == [
            *("/usr/bin/python3", "-m", "watchfiles", "--filter", "python"),
            *("accelerapp serve", "/app/src"),
        ]
        assert "watchfiles==" in text_of("requirements/development.txt")
        assert found["environment"] == {
            **before["environment"],
            "ACCELERAPP_HOST": "0.0.0.0",
            "ACCELERAPP_PORT": str(port_of("development")),
            "PYTHONPATH": "/app/src",
        }
        mounted = ["../../src:/app/src:ro", "../../tests:/app/tests:ro"]
        assert found["volumes"] == [*before["volumes"], *mounted]
        for mount in mounted:
            assert (DOCKER / mount.partition(":")[0]).is_dir()
        limits = {"cpus": "1.0", "memory": "512M", "pids": 256}
        assert found["deploy"] == {"resources": {"limits": limits}}
        versioned = service("accelerapp", DEV, ACCELERAPP_REPOSITORY="r/a", ACCELERAPP_VERSION="v2")
        assert versioned["image"] == "r/a:v2-development"
        assert {key: found.get(key) for key in HARDENED} == HARDENED

    def test_variables_are_documented_with_their_defaults(self) -> None:
        lines = (DOCKER / ".env.example").read_text(encoding="utf-8").splitlines()
        found = [line for line in lines if re.match(r"#?[A-Z_0-9]+=", line)]
        defaults = service("accelerapp")["environment"]
        assert found == [
            "#COMPOSE_PROFILES=redis,monitoring",
            f"ACCELERAPP_REPOSITORY={SETTINGS.name}",
            "#ACCELERAPP_VERSION=v1.2.3",
            "ACCELERAPP_BIND=127.0.0.1",
            f"ACCELERAPP_HOST_PORT={port_of('production')}",
            f"MONITOR_HOST_PORT={port_of('monitoring')}",
            f"ACCELERAPP_LOG_FORMAT={defaults['ACCELERAPP_LOG_FORMAT']}",
            f"ACCELERAPP_OLLAMA_MODEL={defaults['ACCELERAPP_OLLAMA_MODEL']}",
            f"ACCELERAPP_OLLAMA_HOST={defaults['OLLAMA_HOST']}",
            f"#ACCELERAPP_REDIS_URL=redis://redis:{port_of('redis')}/0",
            f"OLLAMA_IMAGE={service('ollama')['image']}",
            "OLLAMA_CPUS=1.0",
            "OLLAMA_MEMORY=4G",
            "#MONITOR_TOKEN=",
        ]

    def test_redis_is_safe_in_its_network_and_says_no_before_it_is_ended(self) -> None:
        found = redis_directives()
        (volume,) = IMAGES["redis"].volumes
        assert found == {
            "bind": ["* -::*"],
            "protected-mode": ["no"],
            "port": [str(port_of("redis"))],
            "include": ["/etc/accelerapp/redis.d/*.conf"],
            "daemonize": ["no"],
            "logfile": ['""'],
            "pidfile": ['""'],
            "dir": [volume],
            "appendonly": ["yes"],
            "appendfsync": ["everysec"],
            "save": ['""'],
            "maxmemory": ["96mb"],
            "maxmemory-policy": ["noeviction"],
            "enable-debug-command": ["no"],
            "enable-module-command": ["no"],
            "enable-protected-configs": ["no"],
        }
        limit = service("redis")["deploy"]["resources"]["limits"]["memory"]
        # As much again, for the copy that a rewrite of the file makes.
        assert int(found["maxmemory"][0].removesuffix("mb")) * 2 <= int(limit.removesuffix("M"))
        assert stage_of("redis").listed("CMD") == [IMAGES["redis"].files[0].path]


@pytest.fixture(scope="module", params=["manifest", "chart"])
def release(request: pytest.FixtureRequest) -> Release:
    """The committed manifest, and what helm renders of the chart with the same values."""
    if request.param == "manifest":
        return release_of(text_of(MANIFEST), "kubectl")
    done = helm_template("--values", str(ROOT / "deployment" / "kubernetes" / "values.yaml"))
    assert done.returncode == 0, done.stderr
    return release_of(done.stdout, "Helm")


class TestHelmChart:
    """What is in a cluster afterwards, and what the chart refuses."""

    def test_the_release_has_its_objects(self, release: Release) -> None:
        found: dict[str, list[str]] = {}
        for kind, name in release.objects:
            found.setdefault(kind, []).append(name)
        expected = dict(KINDS)
        if release.manager == "Helm":
            # `helm install --create-namespace` makes it.
            del expected["Namespace"]
        assert {kind: sorted(names) for kind, names in found.items()} == expected
        for (kind, _), one in release.objects.items():
            assert one["apiVersion"] == API_VERSIONS[kind]
            if kind != "Namespace":
                assert one["metadata"]["namespace"] == NAMESPACE

    def test_the_namespace_lets_no_pod_do_more(self) -> None:
        found = release_of(text_of(MANIFEST), "kubectl").of("Namespace")["metadata"]
        modes = ("enforce", "audit", "warn")
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in modes}
        assert found == {"name": NAMESPACE, "labels": labels}

    def test_labels_say_whose_an_object_is(self, release: Release) -> None:
        parts = {part.full_name(): part for part in PROGRAM.values()}
        assert release.objects
        for (kind, name), one in release.objects.items():
            if kind == "Namespace":
                continue
            part = parts["accelerapp" if name == "accelerapp-service" else name]
            labels = dict(one["metadata"]["labels"])
            if release.manager == "Helm":
                assert labels.pop("helm.sh/chart") == f"accelerapp-{VERSION}"
            assert labels == {
                **selector(part.name),
                "app.kubernetes.io/version": (
                    version_of(part) if kind == "Deployment" else VERSION
                ),
                "app.kubernetes.io/part-of": "accelerapp",
                "app.kubernetes.io/managed-by": release.manager,
            }

    @EVERY_PART
    def test_a_deployment_finds_its_pods_and_its_service_them(
        self, release: Release, part: Part
    ) -> None:
        spec = release.spec("Deployment", part.full_name())
        assert spec["selector"] == {"matchLabels": selector(part.name)}
        labels = {
            key: value
            for key, value in spec["template"]["metadata"]["labels"].items()
            if key != "helm.sh/chart"
        }
        assert labels == {
            **selector(part.name),
            "app.kubernetes.io/version": version_of(part),
            "app.kubernetes.io/part-of": "accelerapp",
        }
        assert release.spec("Service", part.full_name()) == {
            "type": "ClusterIP",
            "ports": [
                {
                    "name": part.port_name,
                    "port": part.port,
                    "targetPort": part.port_name,
                    "protocol": "TCP",
                }
            ],
            "selector": selector(part.name),
        }

    @EVERY_PART
    def test_pods_are_replaced_without_a_gap_or_without_an_overlap(
        self, release: Release, part: Part
    ) -> None:
        spec = release.spec("Deployment", part.full_name())
        assert spec.get("strategy") == part.strategy
        assert spec["revisionHistoryLimit"] == 3
        # The autoscaler's business, for the service.
        assert spec.get("replicas") == (None if part.name == "service" else 1)

    @EVERY_PART
    def test_pods_may_do_little(self, release: Release, part: Part) -> None:
        pod, container = release.pod(part), release.container(part)
        assert pod["securityContext"] == POD_SECURITY
        assert container["securityContext"] == CONTAINER_SECURITY
        assert pod["serviceAccountName"] == "accelerapp"
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert release.of("ServiceAccount")["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)

    @EVERY_PART
    def test_a_pod_runs_its_image_and_listens_where_others_look(
        self, release: Release, part: Part
    ) -> None:
        container = release.container(part)
        assert (container["name"], container["image"]) == (part.container, part.image)
        assert container["imagePullPolicy"] == "IfNotPresent"
        port = {"name": part.port_name, "containerPort": part.port, "protocol": "TCP"}
        assert container["ports"] == [port]
        assert container["resources"] == {"requests": part.requests, "limits": part.limits}

    @EVERY_PART
    def test_probes_ask_what_the_program_answers(self, release: Release, part: Part) -> None:
        container = release.container(part)
        found = {key: value for key, value in container.items() if key.endswith("Probe")}
        assert found == part.probes

    @EVERY_PART
    def test_programs_are_told_their_settings(self, release: Release, part: Part) -> None:
        container = release.container(part)
        assert {one["name"]: one["value"] for one in container.get("env", [])} == part.environment
        if part.name == "service":
            assert container["envFrom"] == [{"configMapRef": {"name": "accelerapp"}}]
            assert release.of("ConfigMap")["data"] == {
                "ACCELERAPP_LOG_FORMAT": "json",
                "ACCELERAPP_OLLAMA_MODEL": SERVICE_DEFAULTS.ollama_model,
                "ACCELERAPP_OUTPUT_DIR": "/app/output",
                "ACCELERAPP_REDIS_STREAM": SERVICE_DEFAULTS.redis_stream,
            }
        names = {name for kind, name in release.objects if kind == "Service"}
        for key in ("OLLAMA_HOST", "REDIS_URL", "ACCELERAPP_URL"):
            if part.name != "ollama" and key in part.environment:
                host = urlsplit(part.environment[key])
                assert host.hostname in names
                assert release.spec("Service", host.hostname)["ports"][0]["port"] == host.port

    def test_the_service_stops_after_requests_have_ended(self, release: Release) -> None:
        part = PROGRAM["service"]
        container = release.container(part)
        argv = ["/usr/bin/python3", "-I", "-S", "-c", "import time; time.sleep(5)"]
        assert container["lifecycle"] == {"preStop": {"exec": {"command": argv}}}
        grace = int(part.environment["ACCELERAPP_SHUTDOWN_GRACE_S"])
        assert release.pod(part)["terminationGracePeriodSeconds"] > 5 + grace

    @EVERY_PART
    def test_what_is_written_has_a_place(self, release: Release, part: Part) -> None:
        pod, container = release.pod(part), release.container(part)
        assert {one["name"]: one["mountPath"] for one in container["volumeMounts"]} == part.mounts
        volumes = {
            one["name"]: {key: value for key, value in one.items() if key != "name"}
            for one in pod["volumes"]
        }
        assert volumes == part.volumes
        assert {key: pod.get(key) for key in part.pod} == part.pod

    @pytest.mark.parametrize(("name", "size"), [("ollama", "20Gi"), ("redis", "1Gi")])
    def test_claims_are_of_one_pod(self, release: Release, name: str, size: str) -> None:
        assert release.spec("PersistentVolumeClaim", f"accelerapp-{name}") == {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
        }
        if release.manager == "Helm":
            metadata = release.of("PersistentVolumeClaim", f"accelerapp-{name}")["metadata"]
            assert metadata["annotations"] == {"helm.sh/resource-policy": "keep"}

    def test_what_was_written_is_kept_when_a_release_goes_but_for_a_cache(self) -> None:
        shared = "accessModes={ReadWriteMany}"
        flags = [
            f"persistence.{name}.{value}"
            for name in ("models", "cache", "output")
            for value in ("enabled=true", shared)
        ]
        done = helm_template(*(word for flag in flags for word in ("--set", flag)))
        assert done.returncode == 0, done.stderr
        found = release_of(done.stdout, "Helm")
        claims = {
            name: (
                found.spec("PersistentVolumeClaim", f"accelerapp-{name}")["resources"],
                found.of("PersistentVolumeClaim", f"accelerapp-{name}")["metadata"].get(
                    "annotations", {}
                ),
            )
            for name in ("models", "cache", "output")
        }
        kept = {"helm.sh/resource-policy": "keep"}
        assert claims == {
            "models": ({"requests": {"storage": "8Gi"}}, kept),
            "cache": ({"requests": {"storage": "1Gi"}}, {}),
            "output": ({"requests": {"storage": "2Gi"}}, kept),
        }

    @EVERY_PART
    def test_a_pod_reaches_what_it_needs_and_nothing_else(
        self, release: Release, part: Part
    ) -> None:
        reached_by = [one.name for one in PROGRAM.values() if part.name in one.reaches]
        open_to_all = part.name in ("service", "monitor")
        egress: list[dict[str, Any]] = []
        if part.name != "redis":
            egress = [names(), *(to(other, PROGRAM[other].port) for other in part.reaches)]
        if part.name == "ollama":
            egress.append(internet())
        assert release.spec("NetworkPolicy", f"accelerapp-{part.name}") == {
            "podSelector": {"matchLabels": selector(part.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [reached(part.port, [] if open_to_all else reached_by)],
            "egress": egress,
        }

    def test_the_autoscaler_and_the_budget_leave_room(self, release: Release) -> None:
        assert release.spec("HorizontalPodAutoscaler") == {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": "accelerapp",
            },
            "minReplicas": 2,
            "maxReplicas": 6,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 70},
                    },
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        }
        # Of two pods one may go: a node can be drained, and somebody still answers.
        assert release.spec("PodDisruptionBudget") == {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector("service")},
        }

    def test_defaults_are_the_service_alone(self) -> None:
        done = helm_template()
        assert done.returncode == 0, done.stderr
        found = release_of(done.stdout, "Helm")
        assert sorted(found.objects) == [
            ("ConfigMap", "accelerapp"),
            ("Deployment", "accelerapp"),
            ("NetworkPolicy", "accelerapp-service"),
            ("NetworkPolicy", "accelerapp-test"),
            ("Pod", "accelerapp-test"),
            ("PodDisruptionBudget", "accelerapp"),
            ("Service", "accelerapp"),
            ("ServiceAccount", "accelerapp"),
        ]
        assert found.spec("Deployment")["replicas"] == 2
        environment = {one["name"] for one in found.container(PROGRAM["service"])["env"]}
        assert not {"OLLAMA_HOST", "REDIS_URL"} & environment

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            (("replicas=-1",), "replicas"),
            (("service.port=70000",), "port"),
            (("resources.limits.memory=lots",), "memory"),
            (("image.pullPolicy=Sometimes",), "pullPolicy"),
            (("monitr.enabled=true",), "monitr"),
            (("config.logFormat=xml",), "logFormat"),
            (("image.tag=v1", "image.digest=sha256:" + "a" * 64), "digest"),
            (("image.digest=sha256:abc",), "digest"),
            (("podSecurity.runAsUser=0",), "runAsUser"),
            (("blueGreen.enabled=true",), "colour"),
            (("terminationGracePeriodSeconds=10",), "terminationGracePeriodSeconds"),
            (("persistence.models.enabled=true",), "ReadWriteOnce"),
        ],
    )
    def test_values_that_cannot_work_are_refused(
        self, values: tuple[str, ...], reason: str
    ) -> None:
        done = helm_template(*(word for value in values for word in ("--set", value)))
        assert done.returncode != 0
        assert reason in done.stderr


class TestDeploymentDocumentation:
    """What the guides tell people to type and to look at is there."""

    @pytest.mark.parametrize(
        ("guide", "fewest"), [("README.md", 20), ("DEPLOYMENT.md", 15), ("monitoring/README.md", 2)]
    )
    def test_tasks_and_their_flags_exist(self, guide: str, fewest: int) -> None:
        calls = [words for words in commands_of(guide) if Path(words[0]).name == "invoke"]
        assert len(calls) >= fewest
        for words in calls:
            name, flags = task_and_flags(words)
            if name.startswith("--"):
                assert name in ("--list", "--help"), words
                continue
            assert task_exists(name), words
            known = {
                f"--{one.name}".replace("_", "-") for one in tasks.namespace[name].get_arguments()
            }
            assert set(flags) <= known, (words, known)

    @pytest.mark.parametrize(
        ("guide", "fewest"),
        [
            ("README.md", 2),
            ("DEPLOYMENT.md", 20),
            ("monitoring/README.md", 1),
            ("deployment/helm/accelerapp/README.md", 2),
        ],
    )
    def test_tasks_that_are_named_in_a_sentence_exist(self, guide: str, fewest: int) -> None:
        text = re.sub(r"^```.*?^```", "", text_of(guide), flags=re.MULTILINE | re.DOTALL)
        named = {one.rstrip(".") for one in re.findall(r"`invoke\s+([a-z][a-z0-9.-]*)", text)}
        assert len(named) >= fewest
        assert [one for one in named if not task_exists(one)] == []

    @pytest.mark.parametrize("guide", ["README.md", "DEPLOYMENT.md"])
    def test_sessions_of_nox_exist(self, guide: str) -> None:
        sessions = set(re.findall(r"^def ([a-z_]+)\(session", text_of("noxfile.py"), re.MULTILINE))
        named = set(re.findall(r"nox -s ([a-z]+)", text_of(guide)))
        assert named
        assert named <= sessions

    @pytest.mark.parametrize("guide", GUIDES)
    def test_a_console_shows_commands_of_known_programs(self, guide: str) -> None:
        commands = commands_of(guide)
        assert commands
        for words in commands:
            assert words[0] in (".", "cd", "export", "ss") or Path(words[0]).name in {
                *PROGRAMS,
                "jq",
            }, words

    def test_services_and_deployments_that_commands_name_exist(self) -> None:
        services = set(stack()["services"])
        deployments = {part.full_name() for part in PROGRAM.values()}
        seen = 0
        for guide in GUIDES:
            for words in commands_of(guide):
                if words[:3] == ["docker", "compose", "exec"]:
                    assert words[3] in services
                    seen += 1
                if "--service" in words:
                    assert words[words.index("--service") + 1] in services
                    seen += 1
                for word in words:
                    if re.fullmatch(r"deployment/[a-z-]+", word) and words[0] == "kubectl":
                        assert word.partition("/")[2] in deployments
                        seen += 1
        assert seen >= 3

    def test_paths_of_the_repository_exist(self) -> None:
        seen = 0
        for guide in GUIDES:
            folder = (ROOT / guide).parent
            for target in re.findall(r"\]\(([^)#:]+)\)", text_of(guide)):
                assert (folder / target).exists(), (guide, target)
                seen += 1
            for words in commands_of(guide):
                for flag, file in itertools.pairwise(words):
                    if flag in ("-f", "-r", "--requirement") and "/" in file:
                        assert (ROOT / file).exists(), words
                        seen += 1
        assert seen > 10

    def rows(self, name: str) -> list[list[str]]:
        """The rows of a table that `invoke docs` makes, by the name that it has in the guide."""
        text = text_of("DEPLOYMENT.md")
        table = text.partition(f"<!-- begin: {name} -->")[2].partition("<!-- end:")[0]
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len(lines) > 2, name
        return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]

    def test_each_image_is_described_as_it_is(self) -> None:
        rows = {row[0].strip("`"): row for row in self.rows("images")}
        assert set(rows) >= {"production", "monitoring", "redis", "development"}
        for image in ("production", "monitoring", "redis"):
            own = merged_image(image)
            assert own.user is not None
            _, _, user, port, volumes, runs = rows[image]
            assert user == f"{own.user.name}, {own.user.uid}:{own.user.gid}"
            assert user.endswith("1000:1000")
            assert int(port) == port_of(image)
            assert re.findall(r"`(/[^`]+)`", volumes) == list(own.volumes)
            assert runs == f"`{' '.join((*(own.entrypoint or ()), *(own.command or ())))}`"

    @pytest.mark.parametrize(
        ("name", "image"),
        [("service-endpoints", "production"), ("monitor-endpoints", "monitoring")],
    )
    def test_endpoints_are_served(self, name: str, image: str) -> None:
        served = text_of("src/accelerapp/web.py" if image == "production" else "monitoring/web.py")
        paths = [re.findall(r"(/[a-z0-9/.]*)`", row[0])[0] for row in self.rows(name)]
        assert set(paths) >= {"/", "/livez", "/readyz", "/metrics"}
        for path in paths:
            assert f'"{path}"' in served, path
        text = text_of("DEPLOYMENT.md")
        published = re.findall(r"-p 127\.0\.0\.1:\d+:(\d+) accelerapp:([a-z]+)", text)
        assert {one for _, one in published} >= {"production", "monitoring"}
        assert all(int(port) == port_of(one) for port, one in published)

    def test_the_stack_s_table_has_its_limits(self) -> None:
        rows = self.rows("compose-services")
        assert {row[0].strip("`") for row in rows} == set(stack()["services"])
        for name, image, when, published, told in rows:
            found = service(name.strip("`"))
            profile = found.get("profiles", ["always"])[0]
            assert when == ("always" if profile == "always" else f"profile `{profile}`")
            assert image.strip("`") in found["image"]
            limits = found["deploy"]["resources"]["limits"]
            cpus, memory, processes = told.split(", ")
            assert f"{float(cpus.removesuffix(' CPU')):g}" == f"{float(limits['cpus']):g}"
            assert memory == limits["memory"]
            assert processes == f"{limits['pids']} processes"
            assert bool(published) == bool(found.get("ports"))
            assert not published or published.startswith("127.0.0.1:")

    def test_the_cluster_s_table_has_requests_and_limits(self) -> None:
        parts = {part.full_name(): part for part in PROGRAM.values()}
        rows = self.rows("kubernetes-deployments")
        assert {row[0].strip("`") for row in rows} == set(parts)
        for name, _, requests, limits in rows:
            part = parts[name.strip("`")]
            for told, wanted in ((requests, part.requests), (limits, part.limits)):
                assert told == f"cpu {wanted['cpu']}, memory {wanted['memory']}"

    @pytest.mark.parametrize("guide", ["README.md", "DEPLOYMENT.md", "monitoring/README.md"])
    def test_variables_are_read_by_something(self, guide: str) -> None:
        code = "\n".join(
            path.read_text(encoding="utf-8")
            for folder in ("src", "monitoring", "pipeline", "benchmarks", "tests/integration")
            for path in sorted((ROOT / folder).rglob("*.py"))
        )
        compose = (DOCKER / BASE).read_text(encoding="utf-8")
        named = set(re.findall(r"\b((?:ACCELERAPP|MONITOR|OLLAMA)_[A-Z_]+[A-Z])\b", text_of(guide)))
        assert named
        for name in named:
            assert re.search(rf"\b{name}\b", code + compose), name


class TestMonitoringService:
    """The real monitor, as a process, watching something real."""

    def test_it_answers_for_what_is_well_and_notices_when_it_goes(self) -> None:
        with ExitStack() as stack:
            target = ExitStack()
            url = target.enter_context(application())
            stack.callback(target.close)
            watcher = stack.enter_context(watching(ACCELERAPP_URL=url))

            code, document = watcher.health_is("pass")
            assert (code, document["status"]) == (200, "pass")
            assert document["serviceId"] == "accelerapp-monitor"
            [check] = document["checks"]["accelerapp:responseTime"]
            assert (check["status"], check["required"]) == ("pass", True)
            assert set(document["checks"]) >= {"disk:free", "memory:utilization"}
            assert "ollama:responseTime" not in document["checks"]
            assert 'accelerapp_health_status{status="healthy"} 1' in watcher.ask("/metrics")[2]
            status = json.loads(watcher.ask("/status")[2])
            assert (status["status"], status["checks"]["accelerapp"]) == ("healthy", "pass")

            target.close()
            code, document = watcher.health_is("fail")
            assert (code, document["status"]) == (503, "fail")
            [check] = document["checks"]["accelerapp:responseTime"]
            assert check["status"] == "fail"
            assert check["output"]
            metrics = watcher.ask("/metrics")[2]
            assert 'accelerapp_health_status{status="unhealthy"} 1' in metrics
            assert 'accelerapp_health_status{status="healthy"} 0' in metrics
            status = json.loads(watcher.ask("/status")[2])
            assert (status["status"], status["checks"]["accelerapp"]) == ("unhealthy", "fail")
            # What it watches is no reason to restart it, or to send it no requests.
            assert watcher.ask("/livez")[0] == 200
            assert watcher.ask("/readyz")[0] == 200

    def test_what_is_not_required_only_degrades(self) -> None:
        with (
            application() as url,
            socket.create_server(("127.0.0.1", 0)) as closed,
        ):
            port = closed.getsockname()[1]
            closed.close()
            with watching(
                ACCELERAPP_URL=url,
                OLLAMA_HOST=f"127.0.0.1:{port}",
                REDIS_URL=f"redis://127.0.0.1:{port}",
            ) as watcher:
                code, document = watcher.health_is("warn")
                deadline_s = time.monotonic() + PATIENCE_S
                while time.monotonic() < deadline_s:
                    code, _, body = watcher.ask("/health")
                    document = json.loads(body)
                    found = {
                        name: document["checks"][f"{name}:responseTime"][0]
                        for name in ("accelerapp", "ollama", "redis")
                    }
                    statuses = {name: one["status"] for name, one in found.items()}
                    if statuses == {"accelerapp": "pass", "ollama": "fail", "redis": "fail"}:
                        break
                    time.sleep(0.05)
                assert statuses == {"accelerapp": "pass", "ollama": "fail", "redis": "fail"}
                assert {name: one["required"] for name, one in found.items()} == {
                    "accelerapp": True,
                    "ollama": False,
                    "redis": False,
                }
                assert (code, document["status"]) == (200, "warn")
                assert json.loads(watcher.ask("/status")[2])["status"] == "degraded"

    def test_its_paths_are_those_of_the_guide(self) -> None:
        types = {
            "/": "text/html; charset=utf-8",
            "/livez": "text/plain; charset=utf-8",
            "/readyz": "application/health+json",
            "/health": "application/health+json",
            "/status": "application/json",
            "/metrics": "text/plain; version=0.0.4; charset=utf-8",
        }
        with application() as url, watching(ACCELERAPP_URL=url) as watcher:
            watcher.health_is("pass")
            for path, media_type in types.items():
                code, given, body = watcher.ask(path)
                assert (code, given) == (200, media_type), path
                assert body
            assert watcher.ask("/livez")[2] == "ok\n"
            assert json.loads(watcher.ask("/readyz")[2]) == {"status": "pass"}
            verbose = json.loads(watcher.ask("/readyz?verbose")[2])
            assert (verbose["output"], verbose["health"]) == ("serving", "pass")
            page = watcher.ask("/")[2]
            assert page.startswith("<!DOCTYPE html>")
            assert re.search(r"<title>[^<]*\bhealthy\b", page, re.IGNORECASE)
            assert watcher.ask("/nothing")[0] == 404
            configuration = json.loads(watcher.ask("/status")[2])["configuration"]
            assert configuration["ACCELERAPP_URL"] == url
            assert configuration["MONITOR_PROBE_INTERVAL_S"] == 0.1

    def test_every_metric_says_what_it_is(self) -> None:
        with application() as url, watching(ACCELERAPP_URL=url) as watcher:
            watcher.health_is("pass")
            text = watcher.ask("/metrics")[2]
        helped = re.findall(r"^# HELP (\S+) \S.*$", text, re.MULTILINE)
        typed = re.findall(r"^# TYPE (\S+) (?:gauge|counter|histogram)$", text, re.MULTILINE)
        samples = re.findall(r"^([a-z_]+)(?:\{.*\})? -?[0-9.e+-]+$", text, re.MULTILINE)
        assert helped == typed
        assert len(helped) > 20
        assert len(set(helped)) == len(helped)
        families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in samples}
        assert {name for name in families if name in typed} == families
        # This one's own connection is one of them.
        assert re.search(r"^accelerapp_monitor_http_connections [1-9]\d*$", text, re.MULTILINE)
        # Nothing that nobody can read.
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert len(samples) == len(lines)
        assert 'accelerapp_check_status{check="accelerapp",id="",status="pass"} 1' in text

    @pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
    def test_a_signal_stops_it_well(self, name: str) -> None:
        assert merged_image("monitoring").stop_signal == "SIGTERM"
        with watching(ACCELERAPP_URL="http://127.0.0.1:9") as watcher:
            assert watcher.ask("/livez")[0] == 200
            watcher.process.send_signal(getattr(signal, name))
            assert watcher.process.wait(timeout=PATIENCE_S) == 0
            with pytest.raises(OSError, match=r"refused|reset"):
                watcher.ask("/livez")

    @pytest.mark.parametrize(
        ("name", "value"), [("MONITOR_PORT", "http"), ("ACCELERAPP_URL", "nowhere:x:y")]
    )
    def test_a_setting_that_cannot_be_used_is_one_line_and_2(self, name: str, value: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "monitoring.monitor"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), name: value},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.startswith(f"monitor: {name}=")
        assert done.stderr.count("\n") == 1

    def test_the_health_check_of_its_image_asks_the_real_one(self) -> None:
        check = merged_image("monitoring").healthcheck
        assert check is not None
        probe = ROOT / "monitoring" / Path(check.test[-1]).name
        argv = [sys.executable, *check.test[2:-1], str(probe)]
        with watching(ACCELERAPP_URL="http://127.0.0.1:9") as watcher:
            env = {"MONITOR_HOST": "127.0.0.1", "MONITOR_PORT": str(watcher.port)}
            done = subprocess.run(argv, env=env, timeout=PATIENCE_S, check=False)
            assert done.returncode == 0
        done = subprocess.run(argv, env=env, timeout=PATIENCE_S, capture_output=True, check=False)
        assert done.returncode == 1


class TestCICDWorkflows:
    """What runs on a change, with which rights, and what has to be green before a release."""

    def test_there_are_these_workflows_with_these_jobs(self) -> None:
        found = {name: list(workflow(name)["jobs"]) for name in WORKFLOWS}
        assert found == {name: list(some) for name, some in JOBS.items()}

    @EVERY_WORKFLOW
    def test_it_starts_when_it_should(self, name: str) -> None:
        # A pull request of a stranger's with this repository's secrets is nowhere.
        assert without_descriptions(workflow(name)["on"]) == TRIGGERS[name]

    @EVERY_WORKFLOW
    def test_nothing_may_be_done_that_a_job_does_not_ask_for(self, name: str) -> None:
        assert workflow(name)["permissions"] == {}

    @EVERY_WORKFLOW
    def test_a_newer_change_replaces_an_older_one_but_nothing_that_publishes(
        self, name: str
    ) -> None:
        cancels = False if name == "release" else "${{ " + ON_A_PULL_REQUEST + " }}"
        assert workflow(name)["concurrency"] == {
            "group": f"{name}-${{{{ github.ref }}}}",
            "cancel-in-progress": cancels,
        }

    def test_images_are_signed_and_named_by_one_run_at_a_time(self) -> None:
        assert workflow("docker")["jobs"]["publish-manifest"]["concurrency"] == {
            "group": "publish-manifest-${{ github.sha }}",
            "cancel-in-progress": False,
        }
        others = [(name, job) for name, job, said in jobs() if "concurrency" in said]
        assert others == [("docker", "publish-manifest")]

    @EVERY_JOB
    def test_a_job_may_do_what_it_needs_for_as_long_as_it_needs(self, name: str, job: str) -> None:
        said, wanted = workflow(name)["jobs"][job], JOBS[name][job]
        assert said["permissions"] == wanted.permissions
        assert said["timeout-minutes"] == wanted.minutes
        native = "${{ matrix.runner }}" if job == "build-and-push" else RUNNER
        assert said["runs-on"] == native
        assert "continue-on-error" not in said
        assert not [step for step in said["steps"] if "continue-on-error" in step]

    @EVERY_JOB
    def test_a_job_waits_for_what_it_builds_on(self, name: str, job: str) -> None:
        said, wanted = workflow(name)["jobs"][job], JOBS[name][job]
        needs = said.get("needs", [])
        assert ([needs] if isinstance(needs, str) else needs) == list(wanted.needs)
        assert expression(said.get("if", "")) == wanted.condition

    @EVERY_JOB
    def test_a_job_runs_tasks_and_sessions_and_nothing_else(self, name: str, job: str) -> None:
        steps = workflow(name)["jobs"][job]["steps"]
        commands = [" ".join(step["run"].split()) for step in steps if "run" in step]
        assert commands == list(JOBS[name][job].commands)
        for step in steps:
            assert set(step) <= {"name", "id", "if", "uses", "with", "env", "run"}
            assert ("run" in step) != ("uses" in step)
            assert step["name"]
            # What comes from outside is a variable, never a part of a command.
            assert "${{" not in step.get("run", "")

    @EVERY_JOB
    def test_a_job_begins_with_a_checkout_without_credentials(self, name: str, job: str) -> None:
        steps = workflow(name)["jobs"][job]["steps"]
        commands = JOBS[name][job].commands
        if job == "publish-python":
            # It has the right to publish, so it runs nothing of this repository's.
            assert not [step for step in steps if "run" in step]
            assert not [step for step in steps if "checkout" in step["uses"]]
            return
        checkout = steps[0]
        assert checkout["uses"].startswith("actions/checkout@")
        with_history = (
            {"fetch-depth": 0} if any(c.startswith(READS_HISTORY) for c in commands) else {}
        )
        assert checkout["with"] == {"persist-credentials": False, **with_history}
        if commands:
            setup = steps[1]
            assert is_own_action(setup["uses"])
            given = {
                "tests": {"python-version": "${{ matrix.python }}"},
                "audit": {"requirements": "dev audit"},
            }
            assert setup.get("with", {}) == given.get(job, {})

    def test_actions_are_pinned_to_a_commit_and_everywhere_to_the_same(self) -> None:
        texts = [path.read_text(encoding="utf-8") for path in WORKFLOWS.values()]
        texts.append(text_of(f"{SETUP_ACTION}/action.yml"))
        pinned: dict[str, set[tuple[str, str]]] = {}
        for line in "\n".join(texts).splitlines():
            if found := re.match(r"\s*(?:- )?uses: (\S+)(?: # (\S+))?$", line):
                if is_own_action(found[1]):
                    continue
                action, _, commit = found[1].partition("@")
                assert re.fullmatch(r"[0-9a-f]{40}", commit), line
                assert re.fullmatch(r"v\d+\.\d+\.\d+", found[2] or ""), line
                pinned.setdefault(action, set()).add((commit, found[2]))
        assert {action: len(pins) for action, pins in pinned.items()} == dict.fromkeys(pinned, 1)
        assert set(pinned) == {
            "actions/attest",
            "actions/cache/restore",
            "actions/cache/save",
            "actions/checkout",
            "actions/dependency-review-action",
            "actions/download-artifact",
            "actions/setup-python",
            "actions/upload-artifact",
            "github/codeql-action/upload-sarif",
            "pypa/gh-action-pypi-publish",
            "sigstore/cosign-installer",
        }
        # Two actions of one repository: of one commit.
        assert pinned["actions/cache/restore"] == pinned["actions/cache/save"]

    def test_variables_are_what_they_are_called_and_are_used(self) -> None:
        for name, job, said in jobs():
            outer = {**workflow(name).get("env", {}), **said.get("env", {})}
            for step in said["steps"]:
                given = dict(step.get("env", {}))
                run = step.get("run", "")
                used = set(re.findall(r"\$([A-Z_]+)", run)) | set(
                    re.findall(r"env://([A-Z_]+)", run)
                )
                program = " ".join(run.split()[:2])
                needed = used | (READ_FROM_ENVIRONMENT.get(program, set()))
                if "COSIGN_PRIVATE_KEY" in used:
                    needed = needed | {"COSIGN_PASSWORD"}
                assert set(given) == needed - set(said.get("env", {})), (name, job, step["name"])
                for key, value in {**said.get("env", {}), **given}.items():
                    if key == "IDENTITY":
                        assert value == IDENTITIES[name]
                    else:
                        assert expression(value) in VARIABLES_OF_STEPS[key], (name, job, key)
                assert used <= {*outer, *given}
        for job in ("build-and-push", "scan-security"):
            assert set(workflow("docker")["jobs"][job]["env"]) == {"TARGET", "PLATFORM"}
        registry = "${{ vars.REGISTRY || 'ghcr.io' }}/${{ github.repository_owner }}"
        for name in ("docker", "release"):
            assert workflow(name)["env"] == {"ACCELERAPP_REGISTRY": registry}
        assert workflow("ci")["env"] == {"ACCELERAPP_MISSING_TOOLS": "skip"}
        # Tags that there will be, of a pull request: of nothing that was typed in.
        plan = workflow("docker")["jobs"]["plan"]["steps"][2]["env"]
        assert expression(plan["PLATFORMS"]) == "inputs.platforms"
        for step in workflow("docker")["jobs"]["publish-manifest"]["steps"]:
            if "PLATFORMS" in step.get("env", {}):
                assert expression(step["env"]["PLATFORMS"]) == "inputs.platforms || 'all'"

    def test_python_s_versions_are_those_of_nox(self) -> None:
        (versions,) = re.findall(r"^PYTHONS = (\[.*\])$", text_of("noxfile.py"), re.MULTILINE)
        assert workflow("ci")["jobs"]["tests"]["strategy"] == {
            "fail-fast": False,
            "matrix": {"python": json.loads(versions)},
        }

    def test_images_are_built_and_scanned_by_the_plan(self) -> None:
        plan = workflow("docker")["jobs"]["plan"]
        assert plan["outputs"] == {
            "matrix": "${{ steps.matrix.outputs.matrix }}",
            # A pull request never pushes; by hand it has to be said.
            "push": "${{ github.event_name == 'push' || inputs.push == true }}",
        }
        assert [step.get("id") for step in plan["steps"]] == [None, None, "matrix", "tags"]
        for job in ("build-and-push", "scan-security"):
            assert workflow("docker")["jobs"][job]["strategy"] == {
                "fail-fast": False,
                "matrix": "${{ fromJSON(needs.plan.outputs.matrix) }}",
            }

    def test_steps_are_skipped_where_they_should_be_and_nowhere_else(self) -> None:
        found = {
            (name, job, step.get("run") or step["uses"].partition("@")[0]): (expression(step["if"]))
            for name, job, said in jobs()
            for step in said["steps"]
            if "if" in step
        }
        public = "!github.event.repository.private"
        manifest = "publish-manifest"
        _, keyless, by_key, verify, verify_by_key, _ = JOBS["docker"][manifest].commands
        brought, brought_by_key = JOBS["release"]["images"].commands
        assert found == {
            ("docker", "build-and-push", "actions/cache/restore"): "github.ref_type == 'branch'",
            ("docker", "build-and-push", JOBS["docker"]["build-and-push"].commands[1]): PUSHES,
            ("docker", "build-and-push", "actions/upload-artifact"): PUSHES,
            ("docker", "build-and-push", "actions/cache/save"): (
                "github.event_name == 'push' && github.ref_type == 'branch'"
                " && steps.cache.outputs.cache-hit != 'true'"
            ),
            ("docker", "scan-security", "github/codeql-action/upload-sarif"): NOT_FROM_A_FORK,
            ("docker", manifest, keyless): WITH_KEYLESS,
            ("docker", manifest, by_key): WITH_KEY,
            ("docker", manifest, "actions/attest"): public,
            ("docker", manifest, verify): WITH_KEYLESS,
            ("docker", manifest, verify_by_key): WITH_KEY,
            ("release", "images", brought): WITH_KEYLESS,
            ("release", "images", brought_by_key): WITH_KEY,
            ("release", "assets", "actions/attest"): public,
            ("security", "scan", "github/codeql-action/upload-sarif"): NOT_FROM_A_FORK,
        }

    def test_artifacts_that_are_fetched_were_handed_over(self) -> None:
        handed = {
            (name, job, step["with"]["name"]): (
                step["with"]["path"].split(),
                step["with"]["retention-days"],
                step["with"].get("compression-level"),
                step.get("if"),
            )
            for name, job, step in steps_using("actions/upload-artifact")
        }
        build = ("docker", "build-and-push")
        # Without the views of a platform, which are links to the same blobs.
        layouts = ["dist/images", "!dist/images/*/linux-*/**"]
        assert handed == {
            ("ci", "package", "python"): (["dist/python"], 7, None, None),
            ("ci", "bench", "bench"): (["bench.md"], 7, None, None),
            (*build, "digests-${{ matrix.name }}"): (["dist/digests"], 3, None, PUSHES),
            (*build, "images-${{ matrix.name }}"): (layouts, 3, 0, None),
            ("release", "package", "python"): (["dist/python"], 7, None, None),
            ("release", "images", "images"): (layouts, 3, 0, None),
            ("release", "assets", "release"): (["dist/release", "dist/notes.md"], 7, None, None),
        }
        for _, _, step in steps_using("actions/upload-artifact"):
            assert step["with"]["if-no-files-found"] == "error"
        fetched = [
            (name, job, step["with"])
            for name, job, step in steps_using("actions/download-artifact")
        ]
        stack_images = "${{ inputs.runners == 'native' && 'images-*-amd64' || 'images-*' }}"
        merged_ = {"merge-multiple": True}
        python = {"name": "python", "path": "dist/python"}
        assert fetched == [
            (
                "docker",
                "build-compose",
                {"pattern": stack_images, "path": "dist/images", **merged_},
            ),
            (
                "docker",
                "scan-security",
                {"name": "images-${{ matrix.name }}", "path": "dist/images"},
            ),
            (
                "docker",
                "publish-manifest",
                {"pattern": "digests-*", "path": "dist/digests", **merged_},
            ),
            ("release", "assets", python),
            ("release", "assets", {"name": "images", "path": "dist/images"}),
            # What was tested, and not what was built again.
            ("release", "publish-python", python),
            ("release", "publish-release", {"name": "release", "path": "dist"}),
        ]

    def test_caches_are_written_by_branches_alone_and_no_release_reads_one(self) -> None:
        (restore,) = (step for *_, step in steps_using("actions/cache/restore"))
        (save,) = (step for *_, step in steps_using("actions/cache/save"))
        assert restore["id"] == "cache"
        path = {"path": "~/.cache/accelerapp", "key": CACHE_KEY}
        assert restore["with"] == {**path, "restore-keys": "images-${{ matrix.name }}-"}
        assert save["with"] == path
        assert not list(steps_using("actions/cache"))

    def test_what_a_scan_finds_is_shown(self) -> None:
        found = {
            (name, job): step["with"]
            for name, job, step in steps_using("github/codeql-action/upload-sarif")
        }
        assert found == {
            ("docker", "scan-security"): {
                "sarif_file": "scan.sarif",
                "category": "${{ matrix.name }}",
            },
            ("security", "scan"): {"sarif_file": "scan.sarif", "category": "security"},
        }
        (review,) = (step for *_, step in steps_using("actions/dependency-review-action"))
        assert review["with"] == {"fail-on-severity": "moderate"}

    def test_what_is_published_is_signed_and_attested(self) -> None:
        installs = [step for *_, step in steps_using("sigstore/cosign-installer")]
        assert len(installs) == 2
        for step in installs:
            assert step["with"] == {"cosign-release": "v2.6.1"}
        attested = {(name, job): step["with"] for name, job, step in steps_using("actions/attest")}
        assert attested == {
            ("docker", "publish-manifest"): {"subject-checksums": "dist/images.sha256"},
            ("release", "assets"): {"subject-checksums": "dist/release/SHA256SUMS"},
        }
        assert workflow("release")["jobs"]["publish-python"]["environment"] == "pypi"
        (publish,) = (step for *_, step in steps_using("pypa/gh-action-pypi-publish"))
        assert publish["with"] == {"packages-dir": "dist/python", "skip-existing": True}
        ids = [
            step["id"]
            for step in workflow("docker")["jobs"]["publish-manifest"]["steps"]
            if "id" in step
        ]
        assert ids == ["joined"]
        # Tags are the very last thing.
        last = workflow("docker")["jobs"]["publish-manifest"]["steps"][-1]["run"]
        assert last.startswith("invoke manifest ")
        assert "--untagged" not in last

    @EVERY_WORKFLOW
    def test_its_gate_needs_every_other_job(self, name: str) -> None:
        found = workflow(name)["jobs"]
        if name == "release":
            # Its last job needs them instead.
            assert list(found)[-1] == "publish-release"
            return
        last = f"{name}-passed"
        assert list(found)[-1] == last
        assert set(found[last]["needs"]) == set(found) - {last}
        assert found[last]["if"] == "always()"
        # A job that has no condition is never rightly skipped.
        conditional = {job for job, said in found.items() if "if" in said and job != last}
        skippable = found[last]["steps"][-1]["run"].rpartition(" ")[2].split(",")
        assert set(skippable) == conditional

    def test_tasks_and_sessions_of_workflows_exist(self) -> None:
        """The commands are what there is: no typo waits for the next release."""
        sessions = set(re.findall(r"^def ([a-z_]+)\(session", text_of("noxfile.py"), re.MULTILINE))
        for *_, said in jobs():
            for step in said["steps"]:
                words = shlex.split(step.get("run", ""))
                if words[:1] == ["invoke"]:
                    name, flags = task_and_flags(words)
                    assert task_exists(name), name
                    known = {
                        f"--{one.name}".replace("_", "-")
                        for one in tasks.namespace[name].get_arguments()
                    }
                    assert set(flags) <= known, (name, flags)
                elif words[:1] == ["nox"]:
                    assert words[2].removesuffix("-$PYTHON") in sessions

    def test_the_action_that_sets_up_installs_what_the_lock_has(self) -> None:
        action = yaml_of(text_of(f"{SETUP_ACTION}/action.yml"))
        inputs = {key: value["default"] for key, value in action["inputs"].items()}
        # The Python of the images, and README's first command.
        assert inputs == {"python-version": SUITE.python, "requirements": "dev"}
        runs = action["runs"]
        assert (runs["using"], len(runs["steps"])) == ("composite", 2)
        python, install = runs["steps"]
        assert python["uses"].startswith("actions/setup-python@")
        assert python["with"] == {"python-version": "${{ inputs.python-version }}"}
        assert (install["shell"], install["env"]) == (
            "bash",
            {"REQUIREMENTS": "${{ inputs.requirements }}"},
        )
        assert [line.strip() for line in install["run"].splitlines()] == [
            "for lock in $REQUIREMENTS; do",
            "python3 -m pip install --quiet --disable-pip-version-check --require-hashes"
            ' -r "requirements/$lock.txt"',
            "done",
        ]
        for _, job, step in steps_using(f"$/{SETUP_ACTION}"):
            for lock in step.get("with", {}).get("requirements", "dev").split():
                assert (ROOT / "requirements" / f"{lock}.txt").is_file(), job

    def test_actions_are_kept_up_to_date_and_nothing_else_is_by_others(self) -> None:
        assert yaml_of(text_of(".github/dependabot.yml")) == {
            "version": 2,
            "updates": [
                {
                    "package-ecosystem": "github-actions",
                    "directories": ["/", f"/{SETUP_ACTION}"],
                    "schedule": {"interval": "weekly"},
                    "cooldown": {"default-days": 7},
                    "groups": {"actions": {"patterns": ["*"]}},
                }
            ],
        }
