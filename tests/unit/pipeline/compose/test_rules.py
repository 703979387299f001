"""Planted mistakes: each is found by the name of its rule, at its line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.compose import check as checking
from pipeline.compose.check import BASE, ENVIRONMENT, OVERLAYS, check
from pipeline.compose.rules import RULES
from pipeline.compose.stack import FOLDER
from pipeline.errors import ComposeUnreadable, ToolMissing
from pipeline.process import Completed
from pipeline.report import Silent

DEV = OVERLAYS[1]


def no_docker(argv: tuple[str, ...], **_: object) -> Completed:
    raise ToolMissing("'docker' is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (BASE, *OVERLAYS, ENVIRONMENT):
        shutil.copy(FOLDER / name, tmp_path / name)
    return tmp_path


Plant = Callable[[str], str]


def instead(old: str, new: str) -> Plant:
    def plant(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return plant


def found(folder: Path) -> dict[str, list[str]]:
    by_rule: dict[str, list[str]] = {}
    for finding in check(folder, Silent(), runner=no_docker).findings:
        by_rule.setdefault(finding.rule, []).append(f"{finding.place}: {finding.message}")
    return by_rule


def test_the_project_s_own_files_are_right() -> None:
    checked = check(FOLDER, Silent(), runner=no_docker)
    assert checked.findings == []
    assert checked.silent.startswith("not run: 'docker' is not installed")
    assert checked.combinations == 16


PORT = "${ACCELERAPP_BIND:-127.0.0.1}:${ACCELERAPP_HOST_PORT:-8000}:8000"
DIGEST = "@sha256:32931b46719f673c05fdbaa81ccb26da18ea4a1c57590a754874ab28ba269eb2"
DEPENDS = "redis: { condition: service_healthy, required: false }"
GPU = "        reservations: { devices: [{ capabilities: [gpu] }] }\n"
PLANTED: list[tuple[str, str, Plant, str]] = [
    # rule, file, what is planted, what is said
    ("specification", BASE, instead("  restart: unless-stopped", "  restrat: always"), "restrat"),
    ("specification", BASE, instead("memory: 256M", "memory: [1]"), "[1]"),
    (
        "interpolation",
        BASE,
        instead("${ACCELERAPP_REDIS_URL:-}", "${ACCELERAPP_REDIS_URL:-"),
        "brace",
    ),
    ("interpolation", BASE, instead("${MONITOR_TOKEN:-}", "$ 5"), "a lone $"),
    ("published-everywhere", BASE, instead("${ACCELERAPP_BIND:-127.0.0.1}", "0.0.0.0"), "0.0.0.0"),
    ("published-everywhere", BASE, instead(PORT, "8000:8000"), "every address"),
    (
        "published-everywhere",
        BASE,
        instead(f'["{PORT}"]', "[{target: 8000, published: 80}]"),
        "every",
    ),
    (
        "no-limits",
        BASE,
        instead('cpus: "1.0", memory: 256M, pids: 128', 'cpus: "1.0", pids: 128'),
        "memory",
    ),
    (
        "no-limits",
        BASE,
        instead('{ cpus: "0.5", memory: 192M, pids: 64 }', "{ memory: 192M }"),
        "pids",
    ),
    (
        "no-health-check",
        BASE,
        instead('test: ["CMD", "ollama", "list"]', "disable: true"),
        "ollama",
    ),
    ("no-health-check", BASE, instead('["CMD", "ollama", "list"]', "ollama list"), "needs a shell"),
    ("health-check-differs", BASE, instead('"-e", "ping"', '"ping"'), "images.toml has for redis"),
    (
        "unpinned-image",
        BASE,
        instead(":0.33.3@sha256:", ":latest@sha256:"),
        "another image tomorrow",
    ),
    ("unpinned-image", BASE, instead(DIGEST, ""), "digest"),
    (
        "unknown-image",
        BASE,
        instead("target: redis", "target: rediss"),
        "images.toml has no rediss",
    ),
    ("unknown-image", BASE, instead("}-}monitoring", "}-}monitor"), "accelerapp:monitoring"),
    (
        "unknown-image",
        BASE,
        instead("docker/Dockerfile.redis", "docker/Dockerfile"),
        "is built from",
    ),
    ("port-differs", BASE, instead("-8080}:8080", "-8080}:8081"), "nothing listens on 8081"),
    ("no-restart", BASE, instead("  restart: unless-stopped\n", ""), "stays down"),
    ("root", BASE, instead('  user: "1000:1000"\n', ""), "may run as root"),
    ("root", BASE, instead('"1000:1000"', '"0:0"'), "may run as root"),
    ("writable-root", BASE, instead("  read_only: true\n", ""), "can be written"),
    ("capabilities", BASE, instead("  cap_drop: [ALL]\n", ""), "keeps capabilities"),
    (
        "capabilities",
        BASE,
        instead("  cap_drop: [ALL]\n", "  cap_drop: [ALL]\n  cap_add: [NET_ADMIN]\n"),
        "adds",
    ),
    (
        "privileged",
        BASE,
        instead("  read_only: true\n", "  read_only: true\n  privileged: true\n"),
        "root of this",
    ),
    (
        "new-privileges",
        BASE,
        instead('["no-new-privileges:true"]', '["seccomp:unconfined"]'),
        "seccomp",
    ),
    (
        "host-namespace",
        BASE,
        instead("  networks: [accelerapp]\n", "  networks: [accelerapp]\n  pid: host\n"),
        "pid: host",
    ),
    ("own-network", BASE, instead("  networks: [accelerapp]\n", ""), "default network"),
    (
        "own-network",
        BASE,
        instead("  networks: [accelerapp]\n", "  networks: [other]\n"),
        "not declared",
    ),
    (
        "volumes",
        BASE,
        instead("- cache:/app/cache", "- /var/run/docker.sock:/s"),
        "Docker's socket",
    ),
    (
        "volumes",
        BASE,
        instead("- cache:/app/cache", "- ./cache:/app/cache"),
        "folder of this machine",
    ),
    ("volumes", BASE, instead("- cache:/app/cache", "- cash:/app/cache"), "cash is not declared"),
    ("volumes", DEV, instead("../../src:/app/src:ro", "../../src:/app/src"), "development :ro"),
    (
        "depends-on",
        BASE,
        instead(DEPENDS, "redis: { condition: service_healthy }"),
        "required: false",
    ),
    (
        "depends-on",
        BASE,
        instead(DEPENDS, "rediss: { condition: service_healthy }"),
        "no service rediss",
    ),
    (
        "depends-on",
        BASE,
        instead("    depends_on:\n      " + DEPENDS, "    depends_on: [ollama]"),
        "each a condition",
    ),
    ("optional", BASE, instead("    profiles: [redis]\n", ""), "redis: is always on"),
    (
        "optional",
        BASE,
        instead(
            '        limits: { cpus: "${OLLAMA',
            GPU + '        limits: { cpus: "${OLLAMA',
        ),
        "a GPU is needed",
    ),
    ("secret", BASE, instead("${MONITOR_TOKEN:-}", "hunter2"), "MONITOR_TOKEN has a secret"),
    ("secret", BASE, instead("${ACCELERAPP_REDIS_URL:-}", "redis://:hunter2@redis"), "REDIS_URL"),
    ("no-log-limit", BASE, instead("max-size: 10m, ", ""), "fills the disk"),
    (
        "variables",
        BASE,
        instead("${MONITOR_TOKEN:-}", "${MONITOR_TOCKEN:-}"),
        "not in .env.example",
    ),
    ("variables", BASE, instead("${MONITOR_TOKEN:-}", "$MONITOR_TOKEN"), "has no default"),
    ("variables", ENVIRONMENT, instead("HOST_PORT=8000", "HOST_PORT=8001"), "'8001' in .env"),
    ("variables", ENVIRONMENT, lambda text: text + "EXTRA=1\n", "EXTRA: is read by no"),
]


@pytest.mark.parametrize(
    ("rule", "name", "plant", "said"), PLANTED, ids=[f"{p[0]}-{n}" for n, p in enumerate(PLANTED)]
)
def test_a_planted_mistake_is_found_by_name(
    folder: Path, rule: str, name: str, plant: Plant, said: str
) -> None:
    before = (folder / name).read_text()
    after = plant(before)
    assert after != before
    (folder / name).write_text(after)
    by_rule = found(folder)
    assert rule in by_rule, by_rule
    assert any(said in line for line in by_rule[rule]), by_rule[rule]
    assert "Traceback" not in str(by_rule)


def test_every_rule_has_a_planted_mistake() -> None:
    assert set(RULES) <= {rule for rule, *_ in PLANTED}
    assert len({rule for rule, *_ in PLANTED}) >= 15


def test_a_finding_names_file_and_line(folder: Path) -> None:
    text = (folder / BASE).read_text().replace('"-e", "ping"', '"ping"')
    (folder / BASE).write_text(text)
    line = text.splitlines().index('      test: ["CMD", "/usr/bin/redis-cli", "ping"]') + 1
    [finding] = found(folder)["health-check-differs"]
    assert finding.startswith(f"{folder / BASE}:{line}: redis: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [", "docker-compose.yml:1: not YAML"),
        (b"- 1\n", "no mapping"),
        (b"\xff", "cannot be read: not UTF-8"),
        (b"a: 1\na: 2\n", "docker-compose.yml:2: not YAML"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_compose_file_is_one_line(
    folder: Path, content: bytes | None, said: str
) -> None:
    (folder / BASE).unlink()
    if content is not None:
        (folder / BASE).write_bytes(content)
    with pytest.raises(ComposeUnreadable) as caught:
        check(folder, Silent(), runner=no_docker)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


class Docker:
    """A `docker compose` of a version, which likes everything or nothing."""

    def __init__(self, version: str, stderr: str = "") -> None:
        self.version = version
        self.stderr = stderr
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, argv: tuple[str, ...], **options: object) -> Completed:
        if argv[2] == "version":
            return Completed(argv, 0, self.version, "")
        self.asked.append(argv)
        assert "--env-file" in argv
        return Completed(argv, 0, "", self.stderr)


def test_compose_is_asked_for_every_combination(folder: Path) -> None:
    docker = Docker("2.26.1-4\n")
    checked = check(folder, Silent(), runner=docker)
    assert checked.asked == len(set(docker.asked)) == 16
    assert checked.silent == ""


def test_what_compose_says_is_a_finding(folder: Path) -> None:
    docker = Docker("v2.30.0", 'time="…" level=warning msg="X is not set"\n')
    findings = check(folder, Silent(), runner=docker).findings
    assert {finding.rule for finding in findings} == {"docker-compose-config"}
    assert "X is not set" in findings[0].message


@pytest.mark.parametrize("version", ["2.19.1", "1.29.2", "v2.3.3"])
def test_an_old_compose_is_not_asked_and_that_is_said(folder: Path, version: str) -> None:
    checked = check(folder, Silent(), runner=Docker(version))
    assert checked.asked == 0
    assert "older than 2.20" in checked.silent


def test_all_three_files_are_looked_at() -> None:
    assert {path.name for path in FOLDER.glob("docker-compose.*.yml")} == set(checking.OVERLAYS)
