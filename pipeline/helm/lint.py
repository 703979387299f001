"""A chart with each of its cases, as helm sees it and as the objects that come of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ChartInvalid, ManifestInvalid
from pipeline.findings import Finding
from pipeline.helm import commands
from pipeline.helm.commands import Values
from pipeline.helm.render import render, rendered_objects
from pipeline.kubernetes.check import check_objects
from pipeline.kubernetes.objects import read_objects
from pipeline.process import Runner
from pipeline.report import Progress
from pipeline.settings import Settings

_AT_ONCE = 4


@dataclass
class Checked:
    """What was looked at, and what is wrong with it."""

    cases: list[str]
    findings: list[Finding] = field(default_factory=list)
    versions: tuple[str, ...] = ()
    """Of Kubernetes."""
    objects: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the result for programs."""
        return {
            "cases": self.cases,
            "kubernetes": list(self.versions),
            "objects": self.objects,
            "seconds": round(self.seconds, 3),
            "findings": [finding.to_json() for finding in self.findings],
        }


def lint(chart: Path, cases: Sequence[Values], progress: Progress, runner: Runner) -> Checked:
    """Ask `helm lint --strict` of the chart with each set of values.

    Raises `ToolMissing` without helm.
    """
    helm = commands.find_helm(runner)
    begin = time.monotonic()
    checked = Checked([values.title for values in cases])

    def ask(values: Values) -> list[Finding]:
        done = runner(commands.lint(helm, chart, values), timeout_s=commands.TIMEOUT_S)
        return [] if done.ok else _findings("helm-lint", values, commands.reasons(done))

    with progress.step("helm lint --strict") as step:
        _each(ask, cases, checked)
        step.note(f"{len(cases)} sets of values")
    checked.seconds = time.monotonic() - begin
    return checked


def check(
    chart: Path,
    cases: Sequence[Values],
    manifests: Sequence[Path],
    settings: Settings,
    versions: Sequence[str],
    progress: Progress,
    runner: Runner,
) -> Checked:
    """Check the objects of the chart with each set of values, and those of manifests.

    Raises `ToolMissing` without helm or schemas, and `ManifestInvalid` for a manifest that
    cannot be read.
    """
    begin = time.monotonic()
    checked = Checked([values.title for values in cases], versions=tuple(versions))
    counts: list[int] = []

    def look(values: Values) -> list[Finding]:
        try:
            objects = rendered_objects(render(helm, chart, values, runner), values)
        except ChartInvalid as error:
            # The finding has the values for its place.
            reason = error.message.removeprefix(f"{values.title}: ")
            return _findings("helm-template", values, [reason])
        counts.append(len(objects))
        return check_objects(objects, settings, versions)

    if cases:
        helm = commands.find_helm(runner)
        with progress.step(f"objects for Kubernetes {', '.join(versions)}") as step:
            _each(look, cases, checked)
            step.note(f"{sum(counts)} of {len(cases)} sets of values")
    for manifest in manifests:
        checked.cases.append(str(manifest))
        with progress.step(str(manifest)) as step:
            objects = read_objects(_text(manifest), str(manifest))
            counts.append(len(objects))
            checked.findings += check_objects(objects, settings, versions)
            step.note(f"{len(objects)} objects")
    checked.findings.sort()
    checked.objects = sum(counts)
    checked.seconds = time.monotonic() - begin
    return checked


def _each(
    look: Callable[[Values], list[Finding]], cases: Sequence[Values], checked: Checked
) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for found in threads.map(look, cases):
            checked.findings += found
    checked.findings.sort()


def _findings(rule: str, values: Values, reasons: Sequence[str]) -> list[Finding]:
    return [Finding(values.title, rule, reason) for reason in reasons]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "not UTF-8").lower()
        raise ManifestInvalid(f"{path} cannot be read: {reason}") from error
