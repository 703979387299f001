"""`invoke compose.check`: every combination of files and profiles, by our rules and Docker's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.compose import commands
from pipeline.compose.document import ComposeFile, Project, environment_file, merged, read_file
from pipeline.compose.rules import Facts, findings, unused
from pipeline.errors import ToolMissing
from pipeline.findings import Finding
from pipeline.process import Runner, run
from pipeline.report import Progress
from pipeline.settings import read_settings

ROOT = Path(__file__).resolve().parents[2]
BASE = "docker-compose.yml"
OVERLAYS = ("docker-compose.gpu.yml", "docker-compose.dev.yml")
ENVIRONMENT = ".env.example"
PROFILES = ("redis", "monitoring")


@dataclass
class Checked:
    """`asked` is how often `docker compose config` was run; `silent`, why it was not."""

    files: list[str]
    combinations: int
    findings: list[Finding] = field(default_factory=list)
    asked: int = 0
    silent: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "files": self.files,
            "combinations": self.combinations,
            "docker_compose_config": {"asked": self.asked, "not_run": self.silent},
            "findings": [finding.to_json() for finding in self.findings],
        }


def check(
    folder: Path,
    progress: Progress,
    *,
    root: Path = ROOT,
    runner: Runner = run,
    ask_docker: bool = True,
) -> Checked:
    """Check the stack in `folder`. Raises ComposeUnreadable and what `read_settings` raises."""
    base = read_file(folder / BASE, root)
    overlays = [read_file(folder / name, root) for name in OVERLAYS if (folder / name).exists()]
    documented = environment_file(folder / ENVIRONMENT)
    facts = Facts(root, read_settings(root), documented)
    combined = [
        [base, *some]
        for size in range(len(overlays) + 1)
        for some in itertools.combinations(overlays, size)
    ]
    checked = Checked([file.name for file in (base, *overlays)], 0)
    projects = []
    with progress.step("our rules and the Compose specification"):
        for files in combined:
            project = _merged(files, checked)
            if project is not None:
                projects.append(project)
                checked.findings += findings(project, facts)
        place = str((folder / ENVIRONMENT).relative_to(root)) if folder.is_relative_to(root) else ""
        checked.findings += [
            Finding(place or ENVIRONMENT, "variables", f"{name}: is read by no Compose file")
            for name in (unused(projects, documented) if len(projects) == len(combined) else [])
        ]
    if ask_docker:
        with progress.step("docker compose config") as step:
            _ask_docker(folder, combined, checked, runner)
            step.note(checked.silent or f"{checked.asked} combinations")
    checked.combinations = len(combined) * 2 ** len(PROFILES)
    checked.findings = sorted(set(checked.findings))
    return checked


def _merged(files: Sequence[ComposeFile], checked: Checked) -> Project | None:
    try:
        return merged(files, {})
    except ValueError as error:
        checked.findings.append(Finding(files[-1].name, "interpolation", str(error)))
        return None


def _ask_docker(
    folder: Path, combined: list[list[ComposeFile]], checked: Checked, runner: Runner
) -> None:
    try:
        version = commands.version(runner)
    except ToolMissing as error:
        checked.silent = f"not run: {error}"
        return
    if version < commands.OLDEST:
        checked.silent = f"not run: Compose {commands.shown(version)} is older than 2.20"
        return
    for files in combined:
        for size in range(len(PROFILES) + 1):
            for profiles in itertools.combinations(PROFILES, size):
                names = tuple(folder / Path(file.name).name for file in files)
                # Nothing of this machine's settings: the files by themselves.
                argv = commands.config(names, profiles, env_file=Path("/dev/null"))
                done = runner(argv, env=commands.UNSET)
                checked.asked += 1
                said = " ".join(done.stderr.split())
                if not done.ok or said:
                    checked.findings.append(
                        Finding(files[-1].name, "docker-compose-config", said[:300])
                    )
