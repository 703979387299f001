"""`invoke audit`: what each program prints is read, judged, and never taken for clean by mistake.

The programs themselves are in the integration tests.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import tools
from pipeline.audit import PARTS, AuditRequest, audit
from pipeline.errors import ExceptionsInvalid, FindingsAboveGate, NotScanned, OptionInvalid
from pipeline.process import Completed
from pipeline.report import Silent
from pipeline.scan.findings import Severity
from pipeline.scan.run import ScanReport

NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
PRINTED: dict[str, Any] = {
    "ruff": [
        {
            "code": "S602",
            "filename": "{root}/src/a.py",
            "location": {"row": 2, "column": 1},
            "message": "shell=True",
            "url": "https://example.com/S602",
        },
        {"code": "I001", "filename": "{root}/src/a.py", "location": {"row": 1}, "message": "order"},
    ],
    "shellcheck": {
        "comments": [
            {"file": "./run", "line": 3, "level": "error", "code": 2045, "message": "ls"},
            {"file": "./run", "line": 2, "level": "info", "code": 2086, "message": "quote"},
        ]
    },
    "hadolint": [
        {"file": "./Dockerfile", "line": 2, "level": "warning", "code": "DL3003", "message": "cd"}
    ],
    "zizmor": [
        {
            "ident": "unpinned-uses",
            "desc": "unpinned action reference",
            "url": "https://docs.zizmor.sh/audits/#unpinned-uses",
            "determinations": {"severity": "High", "confidence": "High"},
            "locations": [
                {
                    "symbolic": {
                        "kind": "Primary",
                        "key": {"Local": {"verbatim_path": "./.github/workflows/ci.yml"}},
                    },
                    "concrete": {"location": {"start_point": {"row": 6, "column": 8}}},
                }
            ],
            "ignored": False,
        },
        {"ident": "artipacked", "ignored": True},
    ],
}
OFFLINE = [part for part in PARTS if part != "repository"]


class Programs:
    """Programs that print a record, or whatever a test wants."""

    def __init__(self, root: Path, **changed: Callable[[], tuple[int, str, str]]) -> None:
        self.root, self.changed = root, changed
        self.argv: dict[str, tuple[str, ...]] = {}

    def __call__(self, argv: tuple[str, ...], *, cwd: Path, **_: Any) -> Completed:
        name = Path(argv[0]).name
        assert cwd == self.root
        self.argv[name] = argv
        if name in self.changed:
            return Completed(argv, *self.changed[name]())
        code = 1 if name == "shellcheck" else 0
        return Completed(argv, code, json.dumps(PRINTED[name]).replace("{root}", str(cwd)), "")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with a file of each kind, on a machine that has every program."""
    root = tmp_path / "repository"
    for name, text in {
        "src/a.py": "import subprocess\n",
        "run": "#!/usr/bin/env bash\nrm -rf $1\n",
        "-v.sh": "echo\n",
        "notes": "no script\n",
        "Dockerfile": "FROM debian\n",
        "docker/own.Dockerfile": "FROM debian\n",
        "docker/Dockerfile.monitoring": "FROM debian\n",
        ".github/workflows/ci.yml": "on: push\n",
        "compose.yml": "services: {}\n",
        "pyproject.toml": '[project]\nname = "x"\nlicense = "MIT"\n',
        "LICENSE": "MIT\n",
        "requirements/dev.txt": "packaging==26.0 \\\n    --hash=sha256:00\nnot-here==1\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(tools, "beside_python", lambda program: f"/env/bin/{program}")
    return root


def run(root: Path, *only: str, severity: str = "", runner: Any = None) -> ScanReport:
    request = AuditRequest(only=only or OFFLINE, severity=[severity] if severity else [])
    return audit(
        request, Silent(), now=NOW, root=root, environ={"PATH": ""}, runner=runner or Programs(root)
    )


def test_each_program_reads_its_own_files(root: Path) -> None:
    programs = Programs(root)
    run(root, runner=programs)
    files = {name: sorted(a for a in argv if a[:2] == "./") for name, argv in programs.argv.items()}
    assert files == {
        "ruff": ["./src/a.py"],
        "shellcheck": ["./-v.sh", "./run"],
        "hadolint": ["./Dockerfile", "./docker/Dockerfile.monitoring", "./docker/own.Dockerfile"],
        "zizmor": ["./.github/workflows/ci.yml"],
    }
    assert "--offline" in programs.argv["zizmor"]


def test_findings_have_file_line_and_severity(root: Path) -> None:
    done = run(root)
    found = {(f.subject, f.id, f.severity, f.place) for s in done.subjects for f in s.findings}
    assert found == {
        ("source", "S602", Severity.MEDIUM, "src/a.py:2"),
        ("shell", "SC2045", Severity.HIGH, "run:3"),
        ("shell", "SC2086", Severity.LOW, "run:2"),
        ("dockerfiles", "DL3003", Severity.MEDIUM, "Dockerfile:2"),
        ("workflows", "unpinned-uses", Severity.HIGH, ".github/workflows/ci.yml:7"),
    }
    assert [s.name for s in done.subjects] == OFFLINE


@pytest.mark.parametrize(("gate", "failing"), [("", 4), ("HIGH", 2), ("LOW", 5), ("CRITICAL", 0)])
def test_the_gate_is_medium_unless_said(root: Path, gate: str, failing: int) -> None:
    done = run(root, severity=gate)
    assert len(done.judged.failing) == failing
    if failing:
        with pytest.raises(FindingsAboveGate, match=f"{failing} findings at {gate or 'MEDIUM'}"):
            done.raise_for_gate()
    else:
        done.raise_for_gate()


def test_an_exception_covers_a_file_and_expires(root: Path) -> None:
    policy = root / "deployment" / "trust.toml"
    policy.parent.mkdir()
    entry = (
        'schema = 1\n[[exceptions]]\nid = "SC2045"\npackage = "run"\nwhere = "shell"\n'
        'reason = "names have no spaces"\nowner = "me"\nexpiry = {}\n'
    )
    policy.write_text(entry.format("2026-12-31"))
    done = run(root, "shell")
    assert [f.id for f, _ in done.judged.excepted] == ["SC2045"]
    done.raise_for_gate()
    policy.write_text(entry.format("2026-01-31"))
    assert [f.id for f in run(root, "shell").judged.failing] == ["SC2045"]
    policy.write_text(entry.format("2026-12-31").replace("SC2045", "SC9999"))
    with pytest.raises(ExceptionsInvalid, match="covers nothing"):
        run(root, "shell", severity="CRITICAL").raise_for_gate()


def test_without_files_nothing_is_run(root: Path) -> None:
    for name in ("run", "-v.sh"):
        (root / name).unlink()
    programs = Programs(root)
    (shell,) = run(root, "shell", runner=programs).subjects
    assert (shell.findings, programs.argv) == ((), {})


@pytest.mark.parametrize(
    ("program", "part"),
    [
        ("ruff", "source"),
        ("shellcheck", "shell"),
        ("hadolint", "dockerfiles"),
        ("zizmor", "workflows"),
    ],
)
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((2, "", "it broke\nat the end\n"), "exit code 2.: at the end"),
        ((0, "", ""), "JSONDecodeError"),
        ((0, '[{"other": 1}]', ""), "Error"),
        ((0, "7", ""), "TypeError"),
    ],
)
def test_silence_is_never_clean(
    root: Path, program: str, part: str, answer: tuple[int, str, str], why: str
) -> None:
    with pytest.raises(NotScanned, match=rf"{part} could not be checked: {program} .*{why}"):
        run(root, part, runner=Programs(root, **{program: lambda: answer}))


def test_a_program_that_is_missing_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "beside_python", lambda _: "")
    for part, program in (("workflows", "zizmor"), ("dockerfiles", "hadolint")):
        with pytest.raises(NotScanned, match=f"{program} is not here") as caught:
            run(root, part)
        assert "requirements/audit.txt" in str(caught.value.hint)


def test_a_file_that_cannot_be_read_as_python_is_a_finding(root: Path) -> None:
    broken = [
        {
            "code": "invalid-syntax",
            "filename": str(root / "src" / "a.py"),
            "location": {"row": 1},
            "message": "Expected an identifier",
            "url": None,
        }
    ]
    programs = Programs(root, ruff=lambda: (0, json.dumps(broken), ""))
    (found,) = run(root, "source", runner=programs).judged.failing
    assert (found.id, found.path) == ("invalid-syntax", "src/a.py")


def test_licences_that_are_not_taken(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = root / "deployment" / "trust.toml"
    policy.parent.mkdir()
    policy.write_text('schema = 1\n[licences]\nforbidden = ["AGPL-*", "BSD-*"]\n')
    (found,) = run(root, "licences").judged.failing
    assert (found.id, found.package) == ("BSD-2-Clause", "packaging")
    policy.unlink()
    (root / "LICENSE").unlink()
    (found,) = run(root, "licences").judged.failing
    assert found.id == "no-licence"


def test_a_part_that_there_is_not_is_said(root: Path) -> None:
    with pytest.raises(OptionInvalid, match=r"'shel' is not known.*did you mean 'shell'"):
        run(root, "shel")


def test_a_rule_that_the_project_leaves_out_stays_out(root: Path) -> None:
    path = root / "pyproject.toml"
    path.write_text(path.read_text() + '[tool.ruff.lint]\nignore = ["S602"]\n')
    (source,) = run(root, "source").subjects
    assert source.findings == ()


def test_a_policy_that_is_not_there_is_said(root: Path) -> None:
    request = AuditRequest(only=["shell"], policy=root / "none.toml")
    with pytest.raises(ExceptionsInvalid, match=r"there is no file none\.toml"):
        audit(request, Silent(), now=NOW, root=root, environ={"PATH": ""}, runner=Programs(root))
