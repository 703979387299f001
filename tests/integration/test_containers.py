"""The images in Docker Engine: what a container of each does, native and emulated."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.platforms import Platform
from tests.integration.building import PLATFORMS, SETTINGS, TARGETS

if TYPE_CHECKING:
    from docker.models.containers import Container

    from tests.integration.conftest import RunImage

LoadedImage = Callable[[str, Platform], str]

HARDENED = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}
# A service is an image with a health check of its own; Redis, which speaks no HTTP, has its
# own tests below.
SERVICES = tuple(name for name in TARGETS if SETTINGS.merged(name).healthcheck and name != "redis")
HEALTH_PATHS = ("/livez", "/health")
START_TIMEOUT_S = 60
PYTHON = "/usr/bin/python3"


@dataclass(frozen=True, slots=True)
class Service:
    """A running container of a service."""

    target: str
    container: Container
    url: str


@pytest.fixture(
    scope="module",
    params=[(target, platform) for target in SERVICES for platform in PLATFORMS],
    ids=lambda param: f"{param[0]}-{param[1].architecture}",
)
def service(
    request: pytest.FixtureRequest, loaded_image: LoadedImage, run_image: RunImage
) -> Iterator[Service]:
    """Yield each service on each platform with every restriction, its port on loopback."""
    target, platform = request.param
    (port,) = SETTINGS.merged(target).ports
    with run_image(
        loaded_image(target, platform),
        platform,
        ports={port: ("127.0.0.1", None)},
        # The image's own test, asked more often: Engine 20.10 waits an interval before the first.
        healthcheck={"interval": 1_000_000_000, "timeout": 30_000_000_000},
        **HARDENED,
    ) as container:
        container.reload()
        address = container.ports[port][0]
        yield Service(target, container, f"http://{address['HostIp']}:{address['HostPort']}")


def until(asked: Callable[[], Any], container: Container) -> Any:
    """Return the first true answer; fail when the container stops or time is up."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not (answer := asked()):
        container.reload()
        assert container.status == "running", container.logs().decode()
        assert time.monotonic() < deadline_s, container.logs().decode()
        time.sleep(0.2)
    return answer


def status_of(url: str) -> int | None:
    """Return the status of an answer, None where there is none."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


def execute(container: Container, *argv: str) -> str:
    """Run a command in the container, which must succeed, and return its output."""
    code, output = container.exec_run(argv)
    text: str = output.decode()
    assert code == 0, f"{argv} exited with {code}: {text}"
    return text


def run_python(container: Container, script: str) -> Any:
    """Run a script that prints JSON."""
    return json.loads(execute(container, PYTHON, "-c", script))


def test_health_path_answers_over_a_published_port(service: Service) -> None:
    def healthy() -> list[str]:
        return [path for path in HEALTH_PATHS if status_of(service.url + path) == 200]

    assert until(healthy, service.container)


def test_health_check_of_the_image_turns_healthy(service: Service) -> None:
    def health() -> bool:
        service.container.reload()
        state = service.container.attrs["State"]["Health"]
        assert state["Status"] != "unhealthy", state["Log"]
        return bool(state["Status"] == "healthy")

    assert until(health, service.container)


def test_process_is_the_described_user_without_any_privilege(service: Service) -> None:
    status = run_python(
        service.container,
        "import json; print(json.dumps(dict(l.rstrip().split(':', 1) for l in "
        "open('/proc/1/status'))))",
    )
    user = SETTINGS.merged(service.target).user
    assert user is not None
    assert user.uid != 0
    assert set(status["Uid"].split()) == {str(user.uid)}
    assert set(status["Gid"].split()) == {str(user.gid)}
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"


def test_root_is_read_only_and_volumes_can_be_written(service: Service) -> None:
    volumes = SETTINGS.merged(service.target).volumes
    refused = run_python(
        service.container,
        f"""
import json, os
failed = []
for folder in {["/", "/usr", "/tmp", *volumes]!r}:
    try:
        path = os.path.join(folder, "probe")
        open(path, "w").write("x")
        assert open(path).read() == "x"
        os.remove(path)
    except OSError:
        failed.append(folder)
print(json.dumps(failed))
""",
    )
    assert refused == ["/", "/usr", "/tmp"]


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: p.architecture)
@pytest.mark.parametrize("target", SERVICES)
def test_sigterm_stops_the_service_with_code_0(
    target: str, platform: Platform, loaded_image: LoadedImage, run_image: RunImage
) -> None:
    (port,) = SETTINGS.merged(target).ports
    image_id = loaded_image(target, platform)
    published = {port: ("127.0.0.1", None)}
    with run_image(image_id, platform, ports=published, **HARDENED) as container:
        container.reload()
        url = f"http://127.0.0.1:{container.ports[port][0]['HostPort']}"
        until(lambda: any(status_of(url + path) == 200 for path in HEALTH_PATHS), container)
        begin_s = time.monotonic()
        container.stop(timeout=30)
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 0, container.logs().decode()
        assert time.monotonic() - begin_s < 20


@pytest.fixture(scope="module", params=PLATFORMS, ids=lambda p: p.architecture)
def production(
    request: pytest.FixtureRequest, loaded_image: LoadedImage, run_image: RunImage
) -> Iterator[Container]:
    """Yield a container of production that only sleeps."""
    platform = request.param
    sleep = [PYTHON, "-c", "import time; time.sleep(3600)"]
    image_id = loaded_image("production", platform)
    with run_image(image_id, platform, entrypoint=sleep, command=[], **HARDENED) as container:
        yield container


def test_accelerapp_info_names_version_and_machine(production: Container) -> None:
    platform = run_python(production, "import json, os; print(json.dumps(os.uname().machine))")
    about = json.loads(execute(production, "accelerapp", "info", "--json"))
    text = execute(production, "accelerapp", "info")
    assert all(f"{key}: " in text for key in about)
    assert about["version"] in execute(production, "accelerapp", "--version")
    assert platform in {target.kernel for target in PLATFORMS}


def test_machine_is_the_platform_of_the_image(production: Container) -> None:
    machine = run_python(production, "import json, os; print(json.dumps(os.uname().machine))")
    assert Platform.parse(machine).architecture == production.image.attrs["Architecture"]


def test_standard_library_is_complete(production: Container) -> None:
    found = run_python(
        production,
        """
import bz2, ctypes, ctypes.util, curses, hashlib, json, lzma, readline, sqlite3, ssl, uuid
import zlib, zoneinfo
data = b"x" * 1000
for codec in (bz2, lzma, zlib):
    assert codec.decompress(codec.compress(data)) == data
base = sqlite3.connect(":memory:")
base.execute("create table t (x)")
base.execute("insert into t values (42)")
library = ctypes.util.find_library("ssl")
print(json.dumps({
    "authorities": ssl.create_default_context().cert_store_stats()["x509_ca"],
    "sqlite": base.execute("select x from t").fetchone()[0],
    "library": library,
    "loads": bool(ctypes.CDLL(library)),
    "offset_s": zoneinfo.ZoneInfo("Asia/Kathmandu").utcoffset(
        __import__("datetime").datetime(2024, 1, 1)).total_seconds(),
}))
""",
    )
    assert found["authorities"] > 100
    assert found["sqlite"] == 42
    assert found["library"].startswith("libssl.so.")
    assert found["loads"]
    assert found["offset_s"] == 20_700


def test_python_and_python3_are_the_suite_s_python(production: Container) -> None:
    expected = SETTINGS.suite().python
    for name in ("python", "python3", f"python{expected}"):
        assert execute(production, name, "--version").startswith(f"Python {expected}.")


def test_production_has_no_shell_and_no_package_manager(production: Container) -> None:
    found = run_python(
        production,
        "import json, shutil; print(json.dumps([p for p in ('sh', 'bash', 'dash', 'busybox', "
        "'perl', 'apt', 'dpkg', 'pip', 'cc', 'gcc') if shutil.which(p)]))",
    )
    assert found == []


def test_labels_say_what_the_image_is(production: Container) -> None:
    labels = production.image.labels
    image = SETTINGS.merged("production")
    expected = {
        **SETTINGS.labels,
        "org.opencontainers.image.description": image.description,
        **image.labels,
    }
    assert {key: labels.get(key) for key in expected} == expected
    version = execute(production, "accelerapp", "--version").split()[-1]
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.created"].endswith("Z")


@pytest.fixture(scope="module", params=PLATFORMS, ids=lambda p: p.architecture)
def workshop(
    request: pytest.FixtureRequest, loaded_image: LoadedImage, run_image: RunImage
) -> Iterator[Container]:
    """Yield a container of development, with its shell asleep."""
    platform = request.param
    image_id = loaded_image("development", platform)
    with run_image(image_id, platform, command=["/bin/sleep", "3600"]) as container:
        yield container


def test_development_compiles_and_runs_c(workshop: Container) -> None:
    source = '#include <stdio.h>\nint main(void) { puts("made here"); return 0; }\n'
    compile_and_run = 'printf "%s" "$1" >/tmp/t.c && cc -Wall -o /tmp/t /tmp/t.c && exec /tmp/t'
    assert execute(workshop, "sh", "-c", compile_and_run, "sh", source) == "made here\n"


def test_development_has_git_and_its_company(workshop: Container) -> None:
    script = "git --version && curl --version && pager --version && awk 'BEGIN { print 6 * 7 }'"
    text = execute(workshop, "bash", "-ec", script)
    for part in ("git version 2.", "curl ", "less ", "\n42\n"):
        assert part in text


native_only = pytest.mark.parametrize("workshop", [Platform.host()], indirect=True, ids=["native"])


@native_only
def test_development_compiles_cpp_and_makes(workshop: Container) -> None:
    rule = "t: t.cc\n\tc++ -o $@ $<\n"
    source = '#include <iostream>\nint main() { std::cout << "also made"; }\n'
    script = (
        'mkdir -p /tmp/m && cd /tmp/m && printf "%s" "$1" >Makefile && printf "%s" "$2" >t.cc '
        "&& make -s && exec ./t"
    )
    assert execute(workshop, "bash", "-c", script, "bash", rule, source) == "also made"


@native_only
def test_development_commits_and_diffs(workshop: Container) -> None:
    script = """
rm -rf /tmp/r && mkdir /tmp/r && cd /tmp/r && git init -q && echo one >f && git add f
git -c user.name=t -c user.email=t@example.org commit -qm one && echo two >f && git diff --stat
"""
    assert "1 file changed" in execute(workshop, "bash", "-ec", script)


# Those that need nothing but what the image has: no Hypothesis, no jsonschema, no stand-in.
DEVELOPMENT_TESTS = (
    *("test_cli.py", "test_events.py", "test_healthcheck.py", "test_server.py"),
    *("test_settings.py", "test_web.py", "generate/test_output.py"),
)


@native_only
def test_development_runs_the_application_s_tests(workshop: Container) -> None:
    tests = (f"/app/tests/unit/accelerapp/{name}" for name in DEVELOPMENT_TESTS)
    text = execute(workshop, PYTHON, "-m", "pytest", "-q", *tests)
    assert " passed" in text


@native_only
@pytest.mark.parametrize(
    "check", ["mypy -c 'x: int = 1'", "ruff check --isolated --select F /app/src"]
)
def test_development_s_checkers_start(workshop: Container, check: str) -> None:
    tool = check.split()[0]
    assert execute(workshop, tool, "--version").startswith(tool)
    execute(workshop, "bash", "-ec", f"cd /tmp && {check}")


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: p.architecture)
def test_redis_keeps_what_it_acknowledged(
    platform: Platform, loaded_image: LoadedImage, run_image: RunImage
) -> None:
    check = {"interval": 1_000_000_000, "timeout": 30_000_000_000}
    image_id = loaded_image("redis", platform)
    with run_image(image_id, platform, healthcheck=check, **HARDENED) as container:

        def healthy() -> bool:
            container.reload()
            return bool(container.attrs["State"]["Health"]["Status"] == "healthy")

        def cli(*argv: str) -> str:
            return execute(container, "/usr/bin/redis-cli", "-e", *argv).strip()

        until(healthy, container)
        number = cli("XADD", "made", "*", "device", "lamp")
        assert cli("CONFIG", "GET", "appendonly").split() == ["appendonly", "yes"]
        assert cli("CONFIG", "GET", "maxmemory-policy").split()[1] == "noeviction"
        [(_, uid)] = container.top(ps_args="-eo pid,uid")["Processes"]
        assert uid == "1000"
        for program in ("/bin/sh", "/usr/bin/python3"):
            assert container.exec_run([program, "-c", "true"])[0] != 0
        container.stop(timeout=30)
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 0, container.logs().decode()
        container.start()
        until(healthy, container)
        assert number in cli("XRANGE", "made", "-", "+")
