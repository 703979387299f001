"""Spoil the chart in every place, or in a sample of them, and run its tests on each."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from mutants.chart import CHART, Mutant, mutants

ROOT = Path(__file__).parent.parent
FLOOR = 0.95
"""The share that tests have to notice."""
QUICK = ("service_pods", "traffic", "companions", "network", "monitoring", "scaling", "volumes")
THOROUGH = ("labels", "text", "notes", "helm_test_pod", "bad_values", "checks", "values")
"""What is asked of a mutant that none of the quick ones notices."""
FIRST = {
    "NOTES.txt": "notes",
    "_network.tpl": "network",
    "_validate.tpl": "bad_values",
    "hpa.yaml": "scaling",
    "httproute.yaml": "traffic",
    "ingress.yaml": "traffic",
    "monitor.yaml": "companions",
    "networkpolicy.yaml": "network",
    "ollama.yaml": "companions",
    "pdb.yaml": "scaling",
    "prometheusrule.yaml": "monitoring",
    "pvc.yaml": "volumes",
    "redis.yaml": "companions",
    "servicemonitor.yaml": "monitoring",
    "service.yaml": "traffic",
}
"""The tests most likely to notice: the first that does ends a run."""
# What looks at no template, and what runs everything once more in another process.  Nor what
# compares with the rendered manifest: that would notice anything, and say nothing.
LEFT_OUT = (
    "test_a_mutated_value_is_refused or test_helm_agrees or test_every_value_is_in_the_schema"
    " or test_the_tasks_say_so_too or test_the_manifest_is or trivy or promtool"
    " or test_every_supported_helm"
)
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant. `by` is the test that noticed it, empty for none."""

    mutant: Mutant
    by: str
    seconds: float


def copied(folder: Path) -> Path:
    """Return a copy of what the tests need of this repository."""
    for name in ("pipeline", "monitoring", "src", "tests", "deployment", "requirements"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "tasks.py", "noxfile.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def judge(mutant: Mutant, folder: Path) -> Verdict:
    """Run the tests on a mutant, until one notices."""
    begin = time.monotonic()
    path = folder / mutant.path
    path.write_text(mutant.text, encoding="utf-8")
    first = FIRST.get(mutant.path.name)
    quick = tuple(name for name in QUICK if name != first)
    thorough = tuple(name for name in THOROUGH if name != first)
    by = ""
    try:
        for names in ((first,) if first else (), quick, thorough):
            by = by or (run_tests(names, folder) if names else "")
    finally:
        shutil.copyfile(ROOT / mutant.path, path)
    return Verdict(mutant, by, time.monotonic() - begin)


def run_tests(names: tuple[str, ...], folder: Path) -> str:
    """Return the first test that fails, empty for none."""
    argv = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"]
    files = [f"tests/chart/test_{name}.py" for name in names]
    try:
        done = subprocess.run(
            [*argv, "-k", f"not ({LEFT_OUT})", *files],
            cwd=folder,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "it took too long"
    if not done.returncode:
        return ""
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return failed[0].partition(" - ")[0] if failed else f"pytest: exit code {done.returncode}"


def main() -> int:
    """Print each survivor and the share that was noticed; exit code 1 below the floor."""
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("--sample", type=int, help="so many of them (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default: 1)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("files", nargs="*", help="only templates whose path ends so")
    asked = parser.parse_args()
    found = list(mutants(ROOT))
    if asked.files:
        found = [m for m in found if str(m.path).endswith(tuple(asked.files))]
    if asked.sample and asked.sample < len(found):
        chosen = random.Random(asked.seed).sample(found, asked.sample)  # noqa: S311
        found = sorted(chosen, key=str)
    if not found:
        parser.error("there is nothing to spoil")
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        places: Queue[Path] = Queue()
        done: list[Verdict] = []
        for number in range(asked.workers):
            places.put(copied(Path(folder) / str(number)))

        def one(mutant: Mutant) -> Verdict:
            place = places.get()
            try:
                verdict = judge(mutant, place)
            finally:
                places.put(place)
            done.append(verdict)
            if not verdict.by:
                print(f"survives: {mutant}", flush=True)
            if len(done) % 50 == 0:
                print(f"{len(done)} of {len(found)}", file=sys.stderr, flush=True)
            return verdict

        sound = judge(
            Mutant(CHART / "Chart.yaml", 0, "", (ROOT / CHART / "Chart.yaml").read_text()),
            places.queue[0],
        )
        if sound.by:
            print(f"the tests fail without any mutant: {sound.by}", file=sys.stderr)
            return 2
        with ThreadPoolExecutor(asked.workers) as threads:
            verdicts = list(threads.map(one, found))
    survivors = [verdict for verdict in verdicts if not verdict.by]
    killed = len(verdicts) - len(survivors)
    by_file: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_file.setdefault(verdict.mutant.path.name, []).append(verdict)
    for name, some in by_file.items():
        noticed = sum(bool(verdict.by) for verdict in some)
        print(f"{name}: {noticed} of {len(some)}")
    share = killed / len(verdicts)
    print(f"{killed} of {len(verdicts)} mutants noticed: {share:.1%}, floor {FLOOR:.0%}")
    return 0 if share >= FLOOR else 1


if __name__ == "__main__":
    raise SystemExit(main())
