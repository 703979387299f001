"""`invoke build --engine docker` with a real engine, from flags to a running container."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.platforms import Platform
from tests.integration.building import (
    PLATFORMS,
    SETTINGS,
    Checkout,
    assert_refused,
    copy_repository,
    digests,
    read_image,
    whole_layout,
)
from tests.integration.conftest import LoadArchive, RunImage, absent

if TYPE_CHECKING:
    import docker

HOST = Platform.host()
PRODUCTION = ("--engine", "docker", "--target", "production", "--platform", str(HOST))
START_TIMEOUT_S = 90
SECRET = "n0b0dy-may-see-this"

WithBase = Callable[[Platform], Checkout]


@pytest.fixture
def checkout(docker_checkout: WithBase) -> Checkout:
    """Return this repository, where Dockerfiles start from a local Debian image."""
    return docker_checkout(HOST)


@pytest.fixture
def with_lines(checkout: Checkout, tmp_path: Path) -> Callable[..., Checkout]:
    """Return a function: a copy of the repository whose production image has Dockerfile lines."""

    def copy(*lines: str) -> Checkout:
        root = copy_repository(tmp_path / "repository")
        description = root / "deployment/images.toml"
        text = description.read_text(encoding="utf-8")
        added = f"[images.production]\ndocker-lines = {json.dumps(lines)}\n"
        description.write_text(text.replace("[images.production]\n", added), encoding="utf-8")
        return replace(checkout, folder=root)

    return copy


@pytest.fixture
def nothing_left(docker_engine: docker.DockerClient) -> Iterator[None]:
    """Check that a build leaves no tag in the engine."""
    yield
    assert docker_engine.images.list(f"{SETTINGS.name}-build") == []


def other_client(checkout: Checkout, folder: Path) -> Checkout:
    """Return the checkout with a docker that has no buildx: plug-ins are in its settings."""
    folder.mkdir()
    changed = replace(
        checkout, environment={**(checkout.environment or {}), "DOCKER_CONFIG": str(folder)}
    )
    done = subprocess.run(
        ("docker", "buildx", "version"), env=changed.variables(), capture_output=True, check=False
    )
    if done.returncode == 0:
        absent(
            "a docker without buildx",
            unchecked="that the BuildKit of the engine itself builds",
            reason="this one finds the plug-in in a folder of the machine's",
        )
    return changed


@pytest.mark.usefixtures("nothing_left")
def test_every_way_to_buildkit_gives_the_same_digest_each_time(
    checkout: Checkout, tmp_path: Path
) -> None:
    first = checkout.build(*PRODUCTION, "--output", tmp_path / "one")
    again = checkout.build(*PRODUCTION, "--output", tmp_path / "two")
    assert digests(again) == digests(first)
    assert first["images"][0]["engine"] == "docker"
    layers = again["images"][0]["platforms"][0]["layers"]
    assert all(layer["reused"] for layer in layers)
    assert whole_layout(tmp_path / "two/production") == digests(first)["production"]
    # Without the records of the first build everything is exported and converted anew, and
    # another client asks.
    cold = tmp_path / "cold"
    shutil.copytree(checkout.cache / "blobs", cold / "blobs", copy_function=os.link)
    client = other_client(replace(checkout, cache=cold), tmp_path / "settings")
    classic = client.build(*PRODUCTION, "--output", tmp_path / "three")
    assert digests(classic) == digests(first)


def test_layers_are_deterministic_tars(
    built_by_docker: Callable[[str, Platform], Path],
) -> None:
    image = read_image(built_by_docker("production", HOST), HOST)
    created = image.config["created"]
    assert {line["created"] for line in image.config["history"]} == {created}
    newest = 0.0
    for layer in image.layers:
        with tarfile.open(layer) as tar:
            for member in tar:
                newest = max(newest, member.mtime)
                assert (member.uname, member.gname) == ("", "")
                assert not {"atime", "ctime"} & set(member.pax_headers)
    lock = json.loads((SETTINGS.root / "deployment/images.lock").read_text(encoding="utf-8"))
    assert newest == lock["suites"][SETTINGS.default_suite]["epoch"]


def test_source_date_epoch_holds_for_files_and_documents(
    checkout: Checkout, tmp_path: Path
) -> None:
    changes = {**(checkout.environment or {}), "SOURCE_DATE_EPOCH": "1500000000"}
    dated = replace(checkout, environment=changes)
    dated.build(*PRODUCTION, "--output", tmp_path / "out")
    image = read_image(tmp_path / "out/production", HOST)
    assert image.config["created"] == "2017-07-14T02:40:00Z"
    for layer in image.layers:
        with tarfile.open(layer) as tar:
            assert max((member.mtime for member in tar), default=0) <= 1_500_000_000


def health_of(container: Any) -> str:
    container.reload()
    return str(container.attrs["State"].get("Health", {}).get("Status"))


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: p.architecture)
def test_production_runs_and_is_healthy(
    platform: Platform,
    docker_checkout: WithBase,
    load_archive: LoadArchive,
    run_image: RunImage,
    tmp_path: Path,
) -> None:
    archive = tmp_path / "image.tar"
    docker_checkout(platform).build(
        *("--engine", "docker", "--platform", str(platform)),
        *("--output", tmp_path / "out", "--archive", archive),
    )
    (image_id,) = load_archive(archive)
    # The probe of the image, asked more often than every half a minute.
    often = {"interval": 1_000_000_000, "start_period": 1_000_000_000, "retries": START_TIMEOUT_S}
    with run_image(image_id, platform, read_only=True, healthcheck=often) as container:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while (health := health_of(container)) != "healthy":
            assert health == "starting", container.logs().decode()
            assert time.monotonic() < deadline_s, container.logs().decode()
            time.sleep(0.5)
        probe = (
            "import json, os, urllib.request as r; print(json.dumps([os.getuid(), "
            "r.urlopen('http://127.0.0.1:8000/livez').status, os.uname().machine]))"
        )
        code, output = container.exec_run(["python3", "-c", probe])
        assert code == 0, output
        assert json.loads(output) == [1000, 200, platform.kernel]


@pytest.mark.usefixtures("nothing_left")
def test_lines_of_a_target_s_own_are_built_by_docker(
    with_lines: Callable[..., Checkout], tmp_path: Path
) -> None:
    checkout = with_lines("RUN echo made in docker >/etc/made")
    # `auto`: what has no such lines is built without.
    report = checkout.build(
        *("--target", "base,production", "--platform", str(HOST), "--output", tmp_path / "out")
    )
    engines = {image["target"]: image["engine"] for image in report["images"]}
    assert engines == {"base": "daemonless", "production": "docker"}
    image = read_image(tmp_path / "out/production", HOST)
    assert "etc/made" in image.tree()
    done = checkout.invoke("build", "--engine", "daemonless", "--output", tmp_path / "refused")
    assert_refused(
        done,
        16,
        "'production' cannot be built without Docker",
        "images.production.docker-lines",
        "--engine docker",
        output=tmp_path / "refused",
    )


@pytest.mark.usefixtures("nothing_left")
def test_a_failed_instruction_is_one_line_and_secrets_stay_secret(
    with_lines: Callable[..., Checkout], tmp_path: Path
) -> None:
    checkout = with_lines(
        "RUN --mount=type=secret,id=pip cat /run/secrets/pip && echo it broke && exit 42"
    )
    index = f"http://user:{SECRET}@127.0.0.1:9/simple"
    # Nothing listens there, and pip passes it by: it is for reading the secret back.
    changes = {**(checkout.environment or {}), "PIP_EXTRA_INDEX_URL": index}
    broken = replace(checkout, environment=changes)
    done = broken.invoke("build", "--engine", "docker", "--output", tmp_path / "out")
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 65, done.stderr
    assert len(lines) == 1
    assert "/4] RUN --mount=type=secret,id=pip" in lines[0]
    assert "with exit code 42: it broke; the whole log is " in lines[0]
    log = Path(lines[0].rpartition("the whole log is ")[2]).read_text(encoding="utf-8")
    assert "http://user:***@127.0.0.1:9/simple" in log
    assert SECRET not in log + done.stderr + done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("nothing_left")
def test_ctrl_c_stops_the_client_and_leaves_nothing(
    with_lines: Callable[..., Checkout], tmp_path: Path
) -> None:
    checkout = with_lines("RUN touch /begun && sleep 600")
    process = checkout.start("build", "--engine", "docker", "--output", tmp_path / "out")
    deadline_s = time.monotonic() + 300
    while not (building := clients_of(process.pid)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    time.sleep(2)  # Into the build, whichever instruction it is at.
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert not any(Path(f"/proc/{pid}").exists() for pid in building)
    assert not (tmp_path / "out").exists()
    assert list((checkout.cache / "tmp").glob("docker-*")) == []


def clients_of(pid: int) -> list[int]:
    """Return the processes that `pid` started to build with."""
    done = subprocess.run(("ps", "-o", "pid=,args=", "--ppid", str(pid)), capture_output=True)
    rows = [line.split(maxsplit=1) for line in done.stdout.decode().splitlines()]
    return [int(row[0]) for row in rows if len(row) == 2 and " build " in row[1]]


def test_without_an_engine_there_is_one_line(repository: Checkout, tmp_path: Path) -> None:
    away = replace(repository, environment={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    done = away.invoke("build", "--engine", "docker", "--output", tmp_path / "out")
    assert_refused(
        done,
        64,
        f"unix://{tmp_path}/none.sock (no such file or directory)",
        "--engine daemonless",
        output=tmp_path / "out",
    )


@pytest.mark.usefixtures("docker_engine")
def test_a_builder_that_does_not_exist_is_named(
    repository: Checkout, buildx: tuple[str, ...], tmp_path: Path
) -> None:
    flags = ("--engine", "docker", "--builder", "no-such-builder")
    done = repository.invoke("build", *flags, "--output", tmp_path / "out")
    assert_refused(done, 64, "no-such-builder", "docker buildx ls", output=tmp_path / "out")


def test_a_dry_run_shows_the_command_and_the_dockerfile(checkout: Checkout, tmp_path: Path) -> None:
    plan = checkout.invoke("build", *PRODUCTION, "--output", tmp_path / "out", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert f"--platform {HOST}" in plan.stdout
    assert "FROM ${DEBIAN_IMAGE}" in plan.stdout
    done = checkout.invoke("build", *PRODUCTION, "--dry-run", "--json")
    (build,) = json.loads(done.stdout)["docker"]
    assert build["command"][0] == "docker"
    assert build["dockerfile"] in plan.stdout
    assert not (tmp_path / "out").exists()
