"""The tables in guides, against what the code itself says when it is imported and asked."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import errors
from pipeline.errors import GuidesInvalid, PipelineError
from pipeline.guides import facts as read
from pipeline.guides.check import guides_of
from pipeline.guides.facts import Facts
from pipeline.guides.tables import every_error, renders
from pipeline.workflows.document import WORKFLOWS


def table(facts: Facts, name: str) -> list[list[str]]:
    """The rows of a table, without code marks."""
    lines = renders(facts)[name]().splitlines()
    assert re.fullmatch(r"\|(---\|)+", lines[1])
    assert len({re.sub(r"\\\|", "", line).count("|") for line in lines}) == 1
    return [
        [cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines[2:]
    ]


def test_exit_codes(facts: Facts) -> None:
    rows = table(facts, "exit-codes")
    codes = [int(row[0]) for row in rows]
    assert codes == sorted({error.exit_code for error in every_error()} | {130})
    stale = next(row for row in rows if row[0] == "21")
    assert stale == [
        "21",
        "The lock was made from another description.",
        "invoke lock, then invoke dockerfile; commit what they write.",
    ]


def test_every_error_of_the_tree_has_a_row() -> None:
    def tree(base: type[PipelineError]) -> set[type[PipelineError]]:
        return {base}.union(*(tree(one) for one in base.__subclasses__()))

    known = {error for error in tree(PipelineError) if error.__module__ == errors.__name__}
    assert set(every_error()) == known - {PipelineError}


def test_settings_are_those_that_are_read(facts: Facts) -> None:
    from accelerapp.settings import VARIABLES as OF_SERVICE
    from monitoring.settings import VARIABLES as OF_MONITOR

    for name, variables in (("service-settings", OF_SERVICE), ("monitor-settings", OF_MONITOR)):
        assert table(facts, name) == [[*one] for one in variables]


def test_settings_of_the_service_are_what_it_reads() -> None:
    """Each has an effect: a value that cannot be used is refused, or it is in the settings."""
    from accelerapp.settings import VARIABLES, Settings, SettingsError

    plain = Settings.load({})
    for variable in VARIABLES:
        refused = ""
        try:
            assert Settings.load({variable.name: "1\x00 ://"}) != plain, variable.name
        except SettingsError as error:
            refused = str(error)
        assert not refused or refused.startswith(f"{variable.name}=")
        default = Settings.load({variable.name: variable.default})
        assert default == plain, variable.name


def test_metrics_of_the_service_are_those_that_it_tells(facts: Facts) -> None:
    from accelerapp.addresses import Secret
    from accelerapp.events import Publisher
    from accelerapp.metrics import Metrics

    metrics = Metrics("r1", Publisher(Secret("redis://localhost"), "s", 1))
    told = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            family.documentation,
        )
        for family in metrics.registry.collect()
        if not family.name.startswith(("python_", "process_"))
    }
    rows = table(facts, "service-metrics")
    assert {row[0]: (row[1], row[3]) for row in rows} == told
    labels = {row[0]: row[2] for row in rows}
    assert labels["accelerapp_http_requests_total"] == "route, method, status"


def test_metrics_of_the_monitor_are_those_that_it_tells(facts: Facts) -> None:
    from monitoring.metrics import FAMILIES

    assert table(facts, "monitor-metrics") == [
        [family.name, family.kind, ", ".join(family.labels), family.help] for family in FAMILIES
    ]


def test_endpoints_of_the_service_are_those_of_its_document(facts: Facts) -> None:
    import json

    from accelerapp import openapi
    from accelerapp.settings import Settings

    paths = json.loads(openapi.document(Settings.load({})))["paths"]
    described = {
        f"{method.upper()} {path}": operation["summary"]
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    assert dict(table(facts, "service-endpoints")) == described


def test_endpoints_of_the_monitor(facts: Facts) -> None:
    from monitoring.web import PATHS

    assert [row[0] for row in table(facts, "monitor-endpoints")] == list(PATHS)


def test_images(facts: Facts) -> None:
    rows = {row[0]: row[1:] for row in table(facts, "images")}
    assert set(rows) == set(facts.settings.images)
    assert rows["production"][1:4] == [
        "accelerapp, 1000:1000", "8000", "/app/models, /app/cache, /app/output",
    ]  # fmt: skip


def test_the_stack(facts: Facts) -> None:
    rows = {row[0]: row[1:] for row in table(facts, "compose-services")}
    assert rows["redis"] == [
        "accelerapp:redis", "profile redis", "", "0.5 CPU, 192M, 64 processes",
    ]  # fmt: skip
    assert rows["accelerapp"][2] == "127.0.0.1:8000 → 8000"


def test_variables_of_the_stack_have_each_a_meaning_of_its_own(facts: Facts) -> None:
    from pipeline.compose.document import environment_file

    rows = table(facts, "stack-settings")
    assert [row[0] for row in rows] == list(
        environment_file(facts.root / "deployment/docker/.env.example")
    )
    meanings = [row[2] for row in rows]
    assert all(meanings)
    assert len(set(meanings)) == len(meanings)


def test_deployments(facts: Facts) -> None:
    rows = table(facts, "kubernetes-deployments")
    assert {row[0] for row in rows} <= facts.names("deployment")
    assert rows[0][2:] == ["cpu 100m, memory 128Mi", "cpu 1, memory 256Mi"]


def test_tasks_and_sessions(facts: Facts) -> None:
    assert table(facts, "tasks")[1] == ["invoke lock", "Lock \\| resolve."]
    sessions = table(facts, "sessions")
    assert dict(sessions)["nox -s tests"].startswith("Unit tests")
    assert all(all(row) for row in sessions)


def test_alerts_have_their_thresholds(facts: Facts) -> None:
    rows = {row[0]: row for row in table(facts, "alerts")}
    assert rows["AccelerappSlow"][2] == "5 % of Accelerapp's answers take longer than 0.5 s"
    assert len(rows) == 9


def test_an_alert_that_is_written_otherwise_is_said(facts: Facts, tmp_path: Path) -> None:
    text = (facts.root / read.RULES).read_text()
    path = tmp_path / read.RULES
    path.parent.mkdir(parents=True)
    path.write_text(text.replace('"action" "', '"deed" "', 1))
    with pytest.raises(GuidesInvalid, match="9 alerts, and 8 of them can be read"):
        read.alerts(tmp_path, facts.values)


def test_workflows(facts: Facts, tmp_path: Path) -> None:
    folder = tmp_path / WORKFLOWS
    folder.mkdir(parents=True)
    (folder / "docker.yml").write_text(
        "name: Docker\n"
        "on:\n  push: {branches: [main, develop], tags: ['v*']}\n  pull_request:\n"
        "  schedule: [{cron: '5 4 * * 1'}]\n"
        "  workflow_dispatch: {inputs: {target: {type: string}}}\n"
        "jobs:\n  plan: {name: Plan}\n  build: {needs: plan}\n  scan: {needs: [plan, build]}\n"
    )
    shown = renders(replace(facts, root=tmp_path))["workflows"]()
    assert shown == (
        "**`docker.yml`** runs on push (branches main, develop; tags v*); pull_request; "
        "schedule (5 4 * * 1); workflow_dispatch (inputs target).\n\n"
        "| job | name | after |\n|---|---|---|\n"
        "| `plan` | Plan |  |\n| `build` | build | `plan` |\n| `scan` | scan | `plan`, `build` |"
    )


def test_what_a_branch_rule_should_require_are_jobs(facts: Facts) -> None:
    text = (facts.root / "DEPLOYMENT.md").read_text()
    required = set(re.findall(r"`(\w+ passed)`", text))
    assert len(required) == 3
    assert required <= {job.title for one in read.workflows(facts.root) for job in one.jobs}


def test_every_table_is_in_a_guide_and_every_guide_is_current(facts: Facts) -> None:
    texts = [(facts.root / name).read_text() for name in guides_of(facts.root)]
    used = {name for text in texts for name in re.findall(r"<!-- begin: ([a-z-]+) -->", text)}
    assert used == set(renders(facts))


def test_every_file_of_deployment_is_in_its_guide(facts: Facts) -> None:
    folder = facts.root / "deployment"
    links = re.findall(r"^\| \[[^\]]+\]\(([^)]+)\)", (folder / "README.md").read_text(), re.M)
    named = {path.removesuffix("/README.md") for path in links}
    for path in folder.rglob("*"):
        place = path.relative_to(folder)
        if path.is_file() and place.name != "README.md":
            assert any(place.is_relative_to(name) for name in named), place
