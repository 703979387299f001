"""`invoke ci.check` as a whole: every part, whatever the files hold, and who else is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import tools
from pipeline.errors import OptionInvalid, ToolMissing, WorkflowsInvalid
from pipeline.process import Completed
from pipeline.report import Silent
from pipeline.workflows import others, schema
from pipeline.workflows.check import PARTS, check
from pipeline.workflows.document import Document, Documents, Kind, parse_document
from pipeline.workflows.events import events_for
from pipeline.workflows.hygiene import hygiene_findings
from pipeline.workflows.permissions import permission_findings
from pipeline.workflows.pins import pin_findings
from pipeline.workflows.references import expression_findings
from pipeline.workflows.simulate import simulate
from pipeline.workflows.structure import structure_findings
from tests.unit.pipeline.workflows.repository import (
    CI,
    DEPENDABOT,
    DOCKER,
    FILES,
    FORM,
    FORMS,
    SETUP,
    VOCABULARY,
    checked,
    found,
    list_sessions,
    read,
    world,
    write,
)

# Schemas.


def test_what_is_right_fits_githubs_schemas(tmp_path: Path) -> None:
    assert found(write(tmp_path), "schema") == []


@pytest.mark.parametrize(
    ("name", "old", "new", "where", "said"),
    [
        (CI, "runs-on: ubuntu-24.04\n", "run-on: ubuntu-24.04\n", "tests:", "run"),
        (CI, "timeout-minutes: 20", "timeout-minutes: soon", "soon", "soon"),
        (CI, "  schedule:", "  shedule:", "", "shedule"),
        (CI, "      contents: read", "      contents: reed", "reed", "reed"),
        (SETUP, "using: composite", "using: compost", "", "compost"),
        (DEPENDABOT, "interval: weekly", "interval: fortnightly", "fortnightly", "fortnightly"),
        (DEPENDABOT, "github-actions", "github-action", "github-action", "github-action"),
        (FORM, "type: textarea", "type: textaria", "", "textaria"),
        (FORMS, "blank_issues_enabled: false", "blank_issues_enabled: perhaps", "perhaps",
         "perhaps"),
    ],
)  # fmt: skip
def test_what_a_schema_refuses_is_found(
    name: str, old: str, new: str, where: str, said: str, tmp_path: Path
) -> None:
    findings = found(write(tmp_path, (name, old, new)), "schema")
    mine = [finding for finding in findings if said in finding.message]
    assert mine, findings
    assert {finding.place.partition(":")[0] for finding in findings} == {name}
    if where:
        text = (tmp_path / name).read_text()
        line = text[: text.index(where)].count("\n") + 1
        assert f"{name}:{line}" in {finding.place for finding in mine}


def test_without_the_schemas_the_way_to_them_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_PACKAGE", "no_such_package")
    schema._validator.cache_clear()
    with pytest.raises(ToolMissing, match=r"pip install -r requirements/audit\.txt"):
        found(write(tmp_path), "schema")


# Files.


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (b"on: [push\n", ":2", "not YAML"),
        (b"on: push\non: push\n", ":2", "not YAML"),
        (b"- push\n", ":1", "no mapping"),
        (b"", ":1", "no mapping"),
        (b"\xff\xfe\x00", ":1", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_finding_whatever_is_asked_for(
    text: bytes, place: str, said: str, tmp_path: Path
) -> None:
    (write(tmp_path) / ".github/workflows/more.yaml").write_bytes(text)
    (finding,) = found(tmp_path, "pins")
    assert finding.place == f".github/workflows/more.yaml{place}"
    assert said in finding.message


def test_nothing_to_check_is_not_taken_for_clean(tmp_path: Path) -> None:
    with pytest.raises(WorkflowsInvalid, match="there is no workflow in"):
        checked(tmp_path)


def test_a_part_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionInvalid, match="did you mean 'pins'"):
        checked(write(tmp_path), ["pin"])


def test_findings_are_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        (CI, "invoke helm.lint", "make it || true"),
        (CI, "ubuntu-24.04\n    timeout", "ubuntu\n    timeout"),
        (DOCKER, "    timeout-minutes: 60\n", ""),
    )
    places = [finding.place for finding in found(root)]
    lines = [(name, int(line)) for name, _, line in (place.partition(":") for place in places)]
    assert lines == sorted(lines)
    assert len({name for name, _ in lines}) == 2


def test_every_part_reports_its_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "beside_python", lambda name: name)
    steps: list[str] = []

    class Listening(Silent):
        def step(self, title: str, *, total_bytes: int | None = None) -> Any:
            steps.append(title)
            return super().step(title, total_bytes=total_bytes)

    only = [part for part in PARTS if part != "schema"]
    check(Listening(), world(write(tmp_path)), only=only, environ={}, runner=list_sessions)
    assert steps == [f"check {part}" for part in only]


def test_the_result_for_programs_says_what_every_event_would_lead_to(tmp_path: Path) -> None:
    document = json.loads(json.dumps(checked(write(tmp_path)).to_json()))
    assert document["findings"] == []
    assert set(document["files"]) == set(FILES)
    main = next(one for one in document["events"] if one["event"] == "push of main")
    assert "ghcr.io/acme/accelerapp:main-redis" in main["references"]
    assert {"workflow", "job", "matrix", "steps"} == set(main["jobs"][0])


@pytest.mark.parametrize("key", ["branches", "branches-ignore"])
def test_a_pattern_that_is_no_text_is_left_to_the_schema(key: str, tmp_path: Path) -> None:
    root = write(tmp_path, (CI, "branches: [main, develop]", f"{key}: [{{a: b}}, 3, main]"))
    assert found(root, "schema")
    main = next(
        one for one in checked(root, ["flow"]).simulations if str(one.event) == "push of main"
    )
    assert ("ci.yml" in {Path(job.workflow).name for job in main.jobs}) == (key == "branches")


# Whatever a file holds, it is judged.

_ODD = st.sampled_from(
    [None, True, 3, 2.5, "", "x", "${{", "${{ x }}", "${{ fromJSON(1) }}", [], [None], {}, {"a": 1},
     {"include": [1]}, ["x", {"run": 3}], {"steps": [{"uses": 1}]}]
)  # fmt: skip


def _everything(documents: Documents, root: Path) -> None:
    steps: list[Callable[[], Any]] = [
        lambda: list(expression_findings(documents)),
        lambda: list(structure_findings(documents)),
        lambda: list(pin_findings(documents)),
        lambda: list(permission_findings(documents, VOCABULARY)),
        lambda: list(hygiene_findings(documents)),
        lambda: [simulate(documents, one, world(root)) for one in events_for(documents)[:1]],
    ]
    for step in steps:
        step()


@settings(max_examples=10)
@given(st.data())
def test_no_document_is_too_odd_to_be_judged(data: st.DataObject) -> None:
    root = Path("/nonexistent")
    documents = []
    kinds = {CI: Kind.WORKFLOW, DOCKER: Kind.WORKFLOW, SETUP: Kind.ACTION}
    spoiled = data.draw(st.sampled_from(sorted(kinds)))
    for name, kind in kinds.items():
        document = parse_document(FILES[name], name, kind)
        assert isinstance(document, Document)
        if name == spoiled:
            path = data.draw(st.sampled_from(_paths(document.plain)))
            text = _spoiled(document.plain, path, data.draw(_ODD))
            spoilt = parse_document(text, name, kind)
            if not isinstance(spoilt, Document):
                return
            document = spoilt
        documents.append(document)
    _everything(Documents(root, tuple(documents)), root)


def _paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner: Any = ()
    if isinstance(node, dict):
        inner = node.items()
    elif isinstance(node, list):
        inner = enumerate(node)
    return [path] * bool(path) + [
        one for key, value in inner for one in _paths(value, (*path, key))
    ]


def _spoiled(node: Any, path: tuple[Any, ...], value: Any) -> str:
    """Return a document as JSON, which YAML is as well, with something else at a path."""
    copy = json.loads(json.dumps(node))
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return json.dumps(copy, indent=1)


# Programs of others.

ZIZMOR = [
    {
        "ident": "artipacked",
        "desc": "credentials stay",
        "url": "https://docs.zizmor.sh/audits/#artipacked",
        "determinations": {"severity": "Informational"},
        "ignored": False,
        "locations": [
            {
                "symbolic": {"kind": "Primary", "key": {"Local": {"given_path": f"./{CI}"}}},
                "concrete": {"location": {"start_point": {"row": 6}}},
            }
        ],
    }
]


def test_zizmor_is_asked_about_all_that_it_reads_at_its_most_pedantic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "beside_python", lambda name: f"/here/{name}")
    asked: list[tuple[str, ...]] = []

    def runner(argv: tuple[str, ...], **options: Any) -> Completed:
        asked.append(argv)
        assert options["cwd"] == tmp_path
        return Completed(argv, 0, json.dumps(ZIZMOR), "")

    done = check(Silent(), world(write(tmp_path)), only=["zizmor"], environ={}, runner=runner)
    (finding,) = done.findings
    assert str(finding).startswith(f"{CI}:7: zizmor artipacked: credentials stay; see https://")
    ((program, *arguments),) = asked
    assert program == "/here/zizmor"
    assert "--offline" in arguments
    assert arguments[arguments.index("--persona") + 1] == "pedantic"
    files = {argument for argument in arguments if argument.startswith("./")}
    assert files == {f"./{name}" for name in FILES if name not in (FORM, FORMS)}


def test_zizmor_has_to_be_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "beside_python", lambda name: "")
    with pytest.raises(ToolMissing, match=r"zizmor is not here; pip install -r requirements/aud"):
        check(Silent(), world(write(tmp_path)), only=["zizmor"], environ={"PATH": str(tmp_path)})


@pytest.mark.parametrize("done", [(0, "no JSON"), (3, "[]")])
def test_what_zizmor_could_not_check_is_not_taken_for_clean(
    done: tuple[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "beside_python", lambda name: name)

    def runner(argv: tuple[str, ...], **_: Any) -> Completed:
        return Completed(argv, done[0], done[1], "it fell over")

    with pytest.raises(WorkflowsInvalid, match="zizmor could not check the workflows"):
        check(Silent(), world(write(tmp_path)), only=["zizmor"], environ={}, runner=runner)


def test_actionlint_is_asked_where_it_is_named(tmp_path: Path) -> None:
    program = tmp_path / "bin/actionlint"
    program.parent.mkdir()
    program.write_text("")
    program.chmod(0o755)
    printed = [{"filepath": CI, "line": 9, "kind": "events", "message": "no\nsuch event"}]

    def runner(argv: tuple[str, ...], **_: Any) -> Completed:
        assert argv[0] == str(program)
        assert argv[-3:] == tuple(f"./{name}" for name in FILES if "workflows" in name)
        return Completed(argv, 1, json.dumps(printed), "")

    done = check(
        Silent(),
        world(write(tmp_path / "repository")),
        only=["actionlint"],
        environ={"ACTIONLINT": str(program)},
        runner=runner,
    )
    assert [str(one) for one in done.findings] == [
        f"{CI}:9: actionlint events: no such event; correct it"
    ]
    assert done.not_run == {}


def test_without_actionlint_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "beside_python", lambda name: "" if name == "actionlint" else name)
    environ = {"PATH": str(tmp_path)}
    root = write(tmp_path)
    done = check(Silent(), world(root), environ=environ, runner=list_sessions)
    assert done.findings == []
    assert done.not_run == {"actionlint": "it is not here"}
    for only in (["actionlint"], ["pins, ActionLint"]):
        # Whoever names it does not take its silence for a judgement.
        with pytest.raises(ToolMissing, match=r"actionlint is not here; .* out of --only"):
            check(Silent(), world(root), only=only, environ=environ, runner=list_sessions)
    with pytest.raises(ToolMissing, match="ACTIONLINT is"):
        others.find_actionlint({**environ, "ACTIONLINT": "/none"})


def test_documents_know_the_lines_of_texts(tmp_path: Path) -> None:
    document = next(one for one in read(write(tmp_path)).workflows if one.name == CI)
    path = ("jobs", "lint", "steps", 2, "run")
    text = document.plain["jobs"]["lint"]["steps"][2]["run"]
    lines = FILES[CI].splitlines()
    assert lines[document.text_line(path, 0) - 1].strip() == "# Two of them."
    assert lines[document.text_line(path, text.index("invoke")) - 1].strip() == "invoke helm.lint"
    assert lines[document.line(("jobs", "lint", "steps", 2)) - 1].strip() == "- name: Lint"
