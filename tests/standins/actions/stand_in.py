"""What GitHub's actions do, as far as workflows see it: on this machine, without a network.

    stand_in.py OWNER/NAME

Inputs are JSON in INPUTS.  Between jobs, things are kept in the folder that STAND_INS_STATE names:
`artifacts/NAME`, `cache/KEY`, `python/VERSION`, `sarif/CATEGORY.sarif`, `attested`, `published`.
Standard library alone: it runs with whatever Python the machine has.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

STATE = Path(os.environ.get("STAND_INS_STATE", "."))
Inputs = dict[str, str]


class Refused(Exception):
    """What the action would refuse."""


def setup_python(inputs: Inputs) -> None:
    """A Python of that version, first on PATH: the same one for every job, as a tool cache is."""
    version = inputs["python-version"]
    found = shutil.which(f"python{version}")
    if found is None:
        raise Refused(f"no Python {version} is here")
    folder = STATE / "python" / version
    if not (folder / "ready").exists():
        subprocess.run((found, "-m", "venv", "--clear", folder), check=True)
        (folder / "ready").touch()
    append("GITHUB_PATH", str(folder / "bin"))
    output("python-version", version)


def restore(inputs: Inputs) -> None:
    """The newest entry of that key, or of one that begins with a restore key."""
    keys = [inputs["key"], *inputs.get("restore-keys", "").split()]
    entries = sorted(folder("cache").iterdir(), key=lambda entry: entry.stat().st_mtime)
    for number, key in enumerate(keys):
        matching = [e for e in entries if e.name == key or (number and e.name.startswith(key))]
        if matching:
            place = Path(inputs["path"]).expanduser()
            place.mkdir(parents=True, exist_ok=True)
            # Over what is there, as tar does.
            copy = ("cp", "--archive", "--remove-destination", f"{matching[-1]}/.", str(place))
            subprocess.run(copy, check=True)
            output("cache-hit", "true" if number == 0 else "false")
            print(f"restored {matching[-1].name}")
            return
    print("nothing is kept under these keys")


def save(inputs: Inputs) -> None:
    """An entry that is there is never replaced."""
    entry = folder("cache") / inputs["key"]
    if not entry.exists():
        shutil.copytree(Path(inputs["path"]).expanduser(), entry, symlinks=True)


def upload_artifact(inputs: Inputs) -> None:
    """Files of one path below it, of several below what they share; hidden ones stay."""
    target = folder("artifacts") / inputs["name"]
    if target.exists():
        raise Refused(f"an artifact with this name already exists: {inputs['name']}")
    lines = [line.strip() for line in inputs["path"].splitlines() if line.strip()]
    left_out = [line[1:] for line in lines if line.startswith("!")]
    wanted = [Path(line) for line in lines if not line.startswith("!")]
    whole = len(wanted) == 1 and wanted[0].is_dir()
    root = wanted[0] if whole else Path(os.path.commonpath([p.parent for p in wanted]))
    files = [file for path in wanted for file in files_below(path, left_out)]
    if not files:
        if inputs.get("if-no-files-found") == "error":
            raise Refused(f"no files were found with the provided path: {inputs['path']}")
        return
    for file in files:
        place = target / file.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    print(f"{len(files)} files as {inputs['name']}")


def files_below(path: Path, left_out: list[str]) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for parent, folders, names in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(parent) / name
            out = any(fnmatch.fnmatch(str(file), pattern) for pattern in left_out)
            if not name.startswith(".") and not out:
                yield file


def download_artifact(inputs: Inputs) -> None:
    """One artifact by name, or those of a pattern: each in a folder of its name, or merged."""
    place = Path(inputs.get("path") or ".")
    name, pattern = inputs.get("name"), inputs.get("pattern")
    if name:
        source = folder("artifacts") / name
        if not source.is_dir():
            raise Refused(f"unable to find an artifact with the name: {name}")
        shutil.copytree(source, place, dirs_exist_ok=True)
        return
    found = [a for a in sorted(folder("artifacts").iterdir()) if matches(a.name, pattern)]
    for source in found:
        merged = inputs.get("merge-multiple") == "true"
        shutil.copytree(source, place if merged else place / source.name, dirs_exist_ok=True)
    print(f"{len(found)} artifacts: {', '.join(source.name for source in found)}")


def matches(name: str, pattern: str | None) -> bool:
    return pattern is None or pattern == "" or fnmatch.fnmatchcase(name, pattern)


def attest(inputs: Inputs) -> None:
    """A statement about each line of a file of checksums."""
    text = Path(inputs["subject-checksums"]).read_text()
    lines = text.splitlines()
    if not lines or not all(re.fullmatch(r"[0-9a-f]{64} [ *]\S.*", line) for line in lines):
        raise Refused(f"no checksums: {text[:200]!r}")
    with (STATE / "attested").open("a") as file:
        file.write(text)


def dependency_review(_inputs: Inputs) -> None:
    """Asks GitHub, which is not here; of a pull request alone."""
    if os.environ.get("GITHUB_EVENT_NAME") != "pull_request":
        raise Refused("there is no pull request to review")


def upload_sarif(inputs: Inputs) -> None:
    """A report of the static analysis results interchange format."""
    document = json.loads(Path(inputs["sarif_file"]).read_bytes())
    if document.get("version") != "2.1.0" or not isinstance(document.get("runs"), list):
        raise Refused("this is no SARIF 2.1.0")
    (folder("sarif") / f"{inputs['category']}.sarif").write_text(json.dumps(document))


def publish_python(inputs: Inputs) -> None:
    """Wheels and sdists, and nothing beside them."""
    files = sorted(Path(inputs["packages-dir"]).iterdir())
    if not files or not all(file.name.endswith((".whl", ".tar.gz")) for file in files):
        raise Refused(f"not all of these are packages: {[file.name for file in files]}")
    for file in files:
        shutil.copy(file, folder("published"))


def install_cosign(_inputs: Inputs) -> None:
    if shutil.which("cosign") is None:
        raise Refused("cosign is not here")


def folder(name: str) -> Path:
    path = STATE / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def output(name: str, value: str) -> None:
    append("GITHUB_OUTPUT", f"{name}={value}")


def append(variable: str, line: str) -> None:
    with open(os.environ[variable], "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


ACTIONS: dict[str, Callable[[Inputs], None]] = {
    "actions/setup-python": setup_python,
    "actions/cache/restore": restore,
    "actions/cache/save": save,
    "actions/upload-artifact": upload_artifact,
    "actions/download-artifact": download_artifact,
    "actions/attest": attest,
    "actions/dependency-review-action": dependency_review,
    "github/codeql-action/upload-sarif": upload_sarif,
    "pypa/gh-action-pypi-publish": publish_python,
    "sigstore/cosign-installer": install_cosign,
}


def main() -> int:
    try:
        ACTIONS[sys.argv[1]](json.loads(os.environ["INPUTS"]))
    except (Refused, OSError, subprocess.CalledProcessError) as error:
        print(f"::error::{error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
