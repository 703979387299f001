"""Every variable that the pipeline reads is in its table, and the table has no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from pipeline.tools import PROGRAMS
from pipeline.variables import REPOSITORY, VARIABLES

PIPELINE = Path(__file__).parents[3] / "pipeline"
NAME = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")

# What looks like a variable and is not one that the pipeline reads.
OTHERS = {
    # It sets them for others: Compose, Git, pip, the project's back end, Dockerfiles.
    "ACCELERAPP_BIND", "COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME",
    "DOCKER_BUILDKIT", "GIT_COMMON_DIR", "GIT_DIR", "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY", "NO_COLOR",
    "GIT_OPTIONAL_LOCKS",
    "GIT_PREFIX", "GIT_WORK_TREE", "LC_ALL", "MONITOR_HOST", "MONITOR_PORT", "MONITOR_TOKEN",
    "PIP_CACHE_DIR", "PIP_DISABLE_PIP_VERSION_CHECK", "PIP_ROOT_USER_ACTION",
    "UV_INDEX_STRATEGY", "DEBIAN_IMAGE",
    # Of a chart's ConfigMap.
    "ACCELERAPP_SHUTDOWN_GRACE_S",
    # Words of formats and protocols: os-release, SPDX, registries, capabilities.
    "ALL_MANIFEST_TYPES", "DEPENDS_ON", "DIGEST_INVALID", "MANIFEST_BYTES", "MOUNT_REFUSALS",
    "GITHUB_TOKEN", "ISSUE_TEMPLATE",
    "NET_BIND_SERVICE", "PRETTY_NAME", "UNKNOWN_SIZE", "VERSION_CODENAME", "VERSION_ID",
}  # fmt: skip


def read_by_the_pipeline() -> dict[str, str]:
    """Names in texts of the code, and those that the environment is asked for by one word."""
    found = {program.variable: "tools.py" for program in PROGRAMS if program.variable}
    for path in sorted(PIPELINE.rglob("*.py")):
        if path.name == "variables.py" or "guides" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if NAME.fullmatch(node.value):
                    found[node.value] = path.name
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("environ.get"):
                name = node.args[0]
                if isinstance(name, ast.Constant):
                    found[str(name.value)] = path.name
    return found


def test_no_variable_is_missing_or_stale() -> None:
    found = read_by_the_pipeline()
    named = {one.name for one in VARIABLES} - {"HOME"}
    assert {name: found[name] for name in sorted(set(found) - OTHERS - named - {"HOME"})} == {}
    assert named - set(found) == set()
    assert OTHERS - set(found) == set()


def test_settings_of_a_repository_are_those_that_workflows_read() -> None:
    folder = PIPELINE.parent / ".github"
    read = {
        name
        for path in folder.rglob("*.yml")
        for name in re.findall(r"\b(?:vars|secrets)\.[A-Z_]+", path.read_text(encoding="utf-8"))
    }
    assert {one.name for one in REPOSITORY} == read - {"secrets.GITHUB_TOKEN"}


def test_each_has_one_row_and_a_meaning() -> None:
    names = [one.name for one in VARIABLES]
    assert len(set(names)) == len(names)
    assert all(one.meaning for one in VARIABLES)
