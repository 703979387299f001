"""The command lines of helm, as values, for Helm 3 and 4 alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import tools
from pipeline.errors import ChartInvalid, ToolMissing
from pipeline.process import Completed, Runner

KUBERNETES = "1.36.0"
"""The version that charts are rendered for where no cluster says its own: old Helms would take
one that the chart does not support."""
TIMEOUT_S = 60.0
_LINTED = re.compile(r"^\[(ERROR|WARNING)\]", re.MULTILINE)
_BEGINS = ("Error:", "[ERROR]", "[WARNING]", "- ")
"""How a reason begins; what follows in lines of its own belongs to it."""
_AROUND = ("Use --debug", "level=")
_HINT = "install Helm 3 or 4: invoke tools.install helm, or name one with HELM"


@dataclass(frozen=True, slots=True)
class Values:
    """What `--values` and `--set` say, in helm's own order: later ones win."""

    files: tuple[Path, ...] = ()
    settings: tuple[str, ...] = ()
    """Such as `image.tag=v1.2.3`, as `helm --set` takes them."""
    strings: tuple[str, ...] = ()
    """The same for values that are strings whatever they look like, as `helm --set-string`."""

    @property
    def argv(self) -> tuple[str, ...]:
        words = [word for file in self.files for word in ("--values", str(file))]
        words += [word for text in self.settings for word in ("--set", text)]
        return (*words, *(word for text in self.strings for word in ("--set-string", text)))

    def also(self, strings: Sequence[str]) -> Values:
        """Return these values with more strings, which win over what is there."""
        return replace(self, strings=(*self.strings, *strings))

    @property
    def title(self) -> str:
        """What people call them: the files' names, else the chart's own values."""
        return ", ".join(file.name for file in self.files) or "values.yaml"

    def check(self) -> None:
        """Raise `ChartInvalid` for a file that is not there or a setting that sets nothing."""
        for file in self.files:
            if not file.is_file():
                raise ChartInvalid(f"there is no values file {file}", hint="name one that is")
        for text in self.settings:
            if not re.match(r"[^=\s]+=", text):
                raise ChartInvalid(f"--set {text!r} sets nothing", hint="write it as KEY=VALUE")


def find_helm(runner: Runner) -> str:
    """Return helm's path; raises `ToolMissing` for none, and for one that is neither 3 nor 4."""
    path = tools.find("helm")
    known = tools.program("helm")
    try:
        done = runner((path, *known.version_arguments), timeout_s=TIMEOUT_S)
    except TimeoutError:
        raise ToolMissing(f"{path} does not say its version", hint=_HINT) from None
    # Helm 2 says `Client: v2.17.0+g…`, and then that it finds no server.
    found = re.search(r"v(\d+)\.(\d+)[^\s+]*", done.stdout)
    if found is None:
        raise ToolMissing(f"{path} does not say its version: {done.reason}", hint=_HINT)
    if int(found[1]) not in (3, 4):
        raise ToolMissing(f"{path} is Helm {found[0]}, which is not supported", hint=_HINT)
    return path


def lint(helm: str, chart: Path, values: Values) -> tuple[str, ...]:
    return (helm, "lint", "--strict", "--quiet", str(chart), *values.argv)


def template(
    helm: str,
    chart: Path,
    values: Values,
    *,
    release: str,
    namespace: str,
    kubernetes: str = KUBERNETES,
) -> tuple[str, ...]:
    where = ("--namespace", namespace, "--kube-version", kubernetes)
    return (helm, "template", release, str(chart), *where, *values.argv)


def reasons(done: Completed) -> list[str]:
    """Return what helm gives as its reasons, one line each, without what it says around them."""
    # `helm lint` gives them on stdout, and on stderr no more than how many charts failed.
    text = done.stdout if _LINTED.search(done.stdout) else done.stderr.strip() or done.stdout
    # What the chart itself says to `helm lint`, which takes no notice of its `fail`.
    if linted := re.search(
        r'no template \\?"values that do not go together: (.*?)\\?" assoc', text
    ):
        return [linted[1]]
    lines = [line.strip() for line in text.splitlines()]
    given: list[str] = []
    for line in lines:
        if line.startswith(_BEGINS):
            if line.startswith("- ") and given and given[-1].endswith(":"):
                given.pop()  # The heading of a list.
            given.append(line)
        elif line and given and not line.startswith(_AROUND):
            given[-1] += f" {line}"
    told = [line for line in lines if line and not line.startswith(_AROUND)]
    return list(dict.fromkeys(map(_told, given or told[-1:]))) or [done.reason]


def _told(line: str) -> str:
    line = re.sub(r"^(Error:|\[ERROR\]|\[WARNING\])( values\.yaml: -)?", "", line)
    line = line.removeprefix("- ").strip()
    # `at '/image/tag': …` of Helm 4's schema, `image.tag: …` of Helm 3's.
    path = re.match(r"at '(/?[^']*)': (.*)", line)
    if path:
        field = path[1].strip("/").replace("/", ".")
        return f"{field}: {path[2]}" if field else path[2]
    return line.removeprefix("(root): ")


def refused(done: Completed, values: Values) -> ChartInvalid:
    """Return the error for values that helm, the schema or the chart itself refuses."""
    told = "; ".join(reasons(done))
    return ChartInvalid(f"{values.title}: {told}", hint="see the chart's README.md for each value")


def words(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the values of a repeatable `--set`; commas are helm's own."""
    return tuple(text for text in texts if text)
