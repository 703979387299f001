"""The commands of this project as values: is there such a task, session or module, with these
flags?  For what calls them from outside: workflows and guides."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import io
import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, ToolMissing, nearest
from pipeline.platforms import Platform
from pipeline.process import Runner, run
from pipeline.settings import Settings, read_settings
from pipeline.workflows.vocabulary import Invocation

ROOT = Path(__file__).resolve().parents[2]
_UNKNOWN_WORD = re.compile(r"No idea what '(.*)' is!", re.S)
_MISSING = re.compile(r"required positional arguments: (.*)", re.S)
_NO_VALUE = re.compile(r"Flag <Argument: (\S+?)[ >(].* needed value", re.S)
_CORE = ("help", "list", "version")
_NOX_SHOWS = ("help", "version", "list_sessions")
# What is wrong with a command of invoke, its tasks, and whether it only shows something.
_Parsed = tuple[str, tuple[Invocation, ...], bool]


@dataclass(frozen=True, slots=True)
class Session:
    """A session of nox."""

    session: str
    """`compat-3.11`"""
    name: str
    """`compat`"""
    tags: tuple[str, ...]


@dataclass
class Vocabulary:
    """Every command of this project; see `pipeline.workflows.vocabulary`."""

    root: Path = ROOT
    namespace: Any = None
    """Of the tasks; by default that of tasks.py."""
    runner: Runner = run
    _known: dict[tuple[str, ...], _Parsed] = field(default_factory=dict, init=False, repr=False)

    def wrong(self, words: Sequence[str]) -> str:
        """Return what is wrong with a command and what to do about it, an empty text for nothing.

        Of programs that are not this project's nothing is said, and neither of what is only known
        when it runs (a word with a `$`).  Raises `ToolMissing` where nox cannot be asked.
        """
        program, *rest = words
        match program.rpartition("/")[2]:
            case "invoke" | "inv":
                return self._parsed(tuple(rest))[0]
            case "nox":
                return self._wrong_sessions(rest)
            case "accelerapp":
                return self._wrong_application(rest)
            case name if re.fullmatch(r"python(3(\.\d+)?)?", name):
                return self._wrong_module(rest)
        return ""

    def invocations(self, words: Sequence[str]) -> tuple[Invocation, ...]:
        """Return the tasks that an `invoke` command runs, with the values of their flags."""
        if words[0].rpartition("/")[2] not in ("invoke", "inv") or self.only_shows(words):
            return ()
        return self._parsed(tuple(words[1:]))[1]

    def only_shows(self, words: Sequence[str]) -> bool:
        """Return whether a command of invoke or nox prints help, a list or a version, and runs
        nothing.  Raises `ToolMissing` where nox cannot be asked."""
        match words[0].rpartition("/")[2]:
            case "invoke" | "inv":
                return self._parsed(tuple(words[1:]))[2]
            case "nox":
                own = list(words[1 : words.index("--")] if "--" in words else words[1:])
                given, _ = _argparsed(_nox_parser(), own)
                # `--help` ends argparse, and leaves nothing.
                return given is not None and (
                    not given or any(given.get(name) for name in _NOX_SHOWS)
                )
        return False

    # Tasks.

    def _parsed(self, words: tuple[str, ...]) -> _Parsed:
        if words not in self._known:
            self._known[words] = self._parse(words)
        return self._known[words]

    def _parse(self, words: tuple[str, ...]) -> _Parsed:
        from invoke.exceptions import ParseError
        from invoke.parser import Parser

        contexts, initial = self._contexts
        if any(_is_open(word) and (index == 0 or word == "$@") for index, word in enumerate(words)):
            return "", (), False
        try:
            # In two goes, as Invoke does: `--help build` is about a task, and runs none.
            core = Parser(initial=initial, ignore_unknown=True).parse_argv(list(words))
            parsed = Parser(contexts=contexts, initial=initial).parse_argv(core.unparsed)
        except ParseError as error:
            return self._reason(error, words), (), False
        except ValueError as error:
            return f"invoke {' '.join(words)}: {error}; see invoke --help TASK", (), False
        first, *tasks = parsed
        asked = core[0].args
        if isinstance(helped := asked["help"].value, str) and not _is_open(helped):
            names = _names(contexts)
            if helped not in names:
                near = _near(helped, names, "invoke --list")
                return f"invoke has no task '{helped}'; {near}", (), False
        # `invoke build --help` and `invoke --help build` are the same to Invoke.
        shows = any(asked[name].value or first.args[name].value for name in _CORE)
        if not tasks and not shows:
            return "invoke is given no task; name one of invoke --list", (), False
        last = (tasks[-1] if tasks else first).flags.get(words[-1])
        if last is not None and last.takes_value and not last.optional:
            # Invoke takes a repeatable flag without a value, and so for nothing.
            return f"invoke {' '.join(words[-2:])} needs a value; give it one", (), False
        made = tuple(
            Invocation(
                str(context.name),
                {name.replace("_", "-"): arg.value for name, arg in context.args.items()},
            )
            for context in tasks
        )
        wrong = next((text for one in made if (text := self._wrong_values(one))), "")
        return wrong, made, shows

    @functools.cached_property
    def _contexts(self) -> tuple[list[Any], Any]:
        """Invoke's own description of the tasks and of what may stand before them."""
        from invoke.program import Program

        namespace = self.namespace if self.namespace is not None else _namespace(self.root)
        # Invoke uses the help texts up when it makes contexts.
        kept = {name: dict(namespace[name].help) for name in namespace.task_names}
        contexts = namespace.to_contexts()
        for name, texts in kept.items():
            namespace[name].help = texts
        return contexts, Program(name="invoke", namespace=namespace).initial_context

    def _reason(self, error: Any, words: Sequence[str]) -> str:
        contexts, initial = self._contexts
        text, context = str(error), error.context
        task = str(context.name) if context is not None and context.name else ""
        if found := _UNKNOWN_WORD.fullmatch(text):
            word = found[1]
            if _is_open(word):
                return ""
            if not word.startswith("-"):
                names = _names(contexts)
                return f"invoke has no task '{word}'; {_near(word, names, 'invoke --list')}"
            flags = [flag for flag in (context or initial).flags if flag.startswith("--")]
            of = f"invoke {task}".strip()
            return f"{of} has no flag {word}; {_near(word, flags, f'invoke --help {task}'.strip())}"
        if found := _MISSING.search(text):
            needed = found[1].replace("'", "").replace("_", "-")
            if any(_is_open(word) for word in words):
                return ""  # What `$@` and the like come to may be all of it.
            return f"invoke {task} needs {needed}; see invoke --help {task}"
        if found := _NO_VALUE.search(text):
            return f"invoke {task} --{found[1].replace('_', '-')} needs a value; give it one"
        return f"invoke {task}: {text}; see invoke --help {task}"

    # Values.

    def _wrong_values(self, task: Invocation) -> str:
        for name, value in task.values.items():
            check = self._values.get((task.task, name)) or self._values.get(("", name))
            if check is None:
                continue
            for text in value if isinstance(value, list) else [value]:
                for part in str(text).split(",") if isinstance(text, str) else ():
                    part = part.strip()
                    if not part or _is_open(part):
                        continue
                    if reason := check(part):
                        return f"invoke {task.task} --{name} {part}: {reason}"
        return ""

    @functools.cached_property
    def _values(self) -> Mapping[tuple[str, str], Callable[[str], str]]:
        """What flags take, by task and flag; a flag that is the same everywhere has no task."""
        from pipeline import audit, matrix
        from pipeline.oci.image import Format
        from pipeline.sbom.make import FORMATS as SBOM_FORMATS
        from pipeline.scan import run as scan
        from pipeline.scan.findings import Severity
        from pipeline.verify.checks import REQUIRABLE
        from pipeline.workflows.check import PARTS

        settings = self._settings
        severities = [one.name for one in Severity]
        return {
            ("", "target"): _one_of([*settings.images, "all"]),
            ("", "suite"): _one_of(list(settings.suites)),
            ("", "platform"): self._wrong_platform,
            # Others' images are for what they like.
            ("pull", "platform"): _wrong_spelling,
            ("", "severity"): _one_of([*severities, *map(str.lower, severities)]),
            ("", "require"): _one_of(REQUIRABLE),
            ("", "into"): _one_of(("docker", "podman", "containerd")),
            ("", "runners"): _one_of((matrix.ONE, matrix.NATIVE)),
            ("build", "format"): _one_of([one.value for one in Format]),
            ("build", "engine"): _one_of(("auto", "daemonless", "docker")),
            ("scan", "format"): _one_of(scan.FORMATS),
            ("scan", "only"): _one_of(scan.PARTS),
            ("audit", "format"): _one_of(("table", "json")),
            ("audit", "only"): _one_of(audit.PARTS),
            ("sbom", "format"): _one_of(tuple(SBOM_FORMATS)),
            ("ci.check", "only"): _one_of(PARTS),
        }

    @functools.cached_property
    def _settings(self) -> Settings:
        return read_settings(self.root)

    def _wrong_platform(self, text: str) -> str:
        from pipeline.commands import described_platforms

        try:
            described_platforms(self._settings, [text])
        except PipelineError as error:
            return str(error)
        return ""

    # Sessions.

    @functools.cached_property
    def sessions(self) -> tuple[Session, ...]:
        """Every session of the noxfile. Raises `ToolMissing` where nox cannot say."""
        # Without a word about names only those that run by default are listed.
        argv = (sys.executable, "-m", "nox", "-f", str(self.root / "noxfile.py"))
        done = self.runner((*argv, "--json", "--list", "-k", "not no-such-session"), cwd=self.root)
        if not done.ok:
            raise ToolMissing(
                f"nox does not list its sessions: {done.reason}",
                hint="pip install -r requirements/dev.txt",
            )
        return tuple(
            Session(one["session"], one["name"], tuple(one["tags"]))
            for one in json.loads(done.stdout)
        )

    def _wrong_sessions(self, words: Sequence[str]) -> str:
        own = list(words[: words.index("--")] if "--" in words else words)
        if any(_is_open(word) and word.startswith("$") and not own[max(at - 1, 0)].startswith("-")
               for at, word in enumerate(own)):  # fmt: skip
            return ""
        given, reason = _argparsed(_nox_parser(), own)
        if given is None:
            return f"nox: {reason}; see nox --help"
        names = [name for text in given.get("sessions") or () for name in text.split(",")]
        there = {one.session for one in self.sessions} | {one.name for one in self.sessions}
        for name in names:
            # `name(parameters)` is for sessions with parameters.
            plain = name.partition("(")[0].strip()
            if plain and not _is_open(plain) and plain not in there:
                return f"nox has no session '{plain}'; {_near(plain, there, 'nox --list')}"
        tags = {tag for one in self.sessions for tag in one.tags}
        for tag in (part for text in given.get("tags") or () for part in text.split(",")):
            if not _is_open(tag) and tag not in tags:
                return f"nox has no tag '{tag}'; {_near(tag, tags, 'nox --list')}"
        return ""

    # The application, and modules.

    def _wrong_application(self, words: Sequence[str]) -> str:
        if any(_is_open(word) for word in words) or not {"-h", "--help", "--version"}.isdisjoint(
            words
        ):
            return ""
        with _importable(self.root / "src"):
            parser = importlib.import_module("accelerapp.cli")._parser()
        given, reason = _argparsed(parser, list(words))
        return "" if given is not None else f"accelerapp: {reason}; see accelerapp --help"

    def _wrong_module(self, words: Sequence[str]) -> str:
        if "-m" not in words or words.index("-m") + 1 >= len(words):
            return ""
        at = words.index("-m") + 1
        name, rest = words[at], words[at + 1 :]
        if name in ("invoke", "nox", "accelerapp"):
            return self.wrong((name, *rest))
        parts = name.split(".")
        for folder in (self.root, self.root / "src"):
            if not (folder / parts[0]).is_dir() or not (folder / parts[0] / "__init__.py").exists():
                continue
            path = folder.joinpath(*parts)
            if path.with_suffix(".py").is_file() or (path / "__main__.py").is_file():
                return ""
            return f"there is no module {name} to run; see the folder {parts[0]}"
        return ""


def _nox_parser() -> argparse.ArgumentParser:
    """Return what reads nox's command line. Raises `ToolMissing`."""
    try:
        from nox._options import options
    except ImportError as error:
        raise ToolMissing(
            f"nox cannot say what its flags are: {error}",
            hint="pip install -r requirements/dev.txt",
        ) from None
    parser: argparse.ArgumentParser = options.parser()
    return parser


def _wrong_spelling(text: str) -> str:
    try:
        Platform.parse_many([text])
    except PipelineError as error:
        return str(error)
    return ""


def _names(contexts: Iterable[Any]) -> list[str]:
    return [name for one in contexts for name in (one.name, *one.aliases)]


def _is_open(word: str) -> bool:
    """Return whether a word is only known when it runs."""
    return "$" in word or "`" in word


def _one_of(known: Collection[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        return "" if text in known else f"not known; {_near(text, known, '')}"

    return check


def _near(word: str, known: Iterable[str], see: str) -> str:
    """Return what to do about a word that nothing knows."""
    choices = sorted(known)
    # Flags are alike for their dashes.
    begin = "--" if word.startswith("-") else ""
    if match := nearest(word.lstrip("-"), [choice.lstrip("-") for choice in choices]):
        return match.replace("'", f"'{begin}", 1)
    return f"see {see}" if see else f"choose {', '.join(choices)}"


def _argparsed(
    parser: argparse.ArgumentParser, words: list[str]
) -> tuple[dict[str, Any] | None, str]:
    """Return what a command line comes to, or why it is refused."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            return vars(parser.parse_args(words)), ""
    except SystemExit as end:
        if not end.code:
            return {}, ""
        lines = said.getvalue().strip().splitlines() or ["refused"]
        return None, lines[-1].partition("error: ")[2] or lines[-1]


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _namespace(root: Path) -> Any:
    with _importable(root):
        return importlib.import_module("tasks").namespace
