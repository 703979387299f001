"""Every command of the guides: in one class, and run where its class says so.

Commands are run in the order of the guides, each once, in one copy of the repository.
"""

from __future__ import annotations

import shutil

import pytest

from pipeline.guides.check import guides_of
from pipeline.guides.document import Shown, read_guide
from tests.docs.classes import CLASSES, Parsed, Run, classes_of
from tests.docs.conftest import Place
from tests.integration.building import ROOT
from tests.integration.conftest import absent
from tests.integration.registry import free_port

GUIDES = tuple(read_guide(ROOT, name) for name in guides_of(ROOT))


def spelled(shown: Shown) -> str:
    return " ".join(shown.command.words)


def each_once() -> list[Shown]:
    found = {
        spelled(shown): shown for guide in reversed(GUIDES) for shown in reversed(guide.commands)
    }
    return [shown for guide in GUIDES for shown in guide.commands if found[spelled(shown)] is shown]


COMMANDS = each_once()


def runs() -> list[tuple[Shown, Run]]:
    chosen = []
    for shown in COMMANDS:
        match classes_of(spelled(shown)):
            case [Run() as how, *_]:
                chosen.append((shown, how))
    return chosen


@pytest.mark.parametrize("command", [spelled(shown) for shown in COMMANDS])
def test_a_command_is_in_exactly_one_class(command: str) -> None:
    found = classes_of(command)
    assert found, "say in tests/docs/classes.py whether this one is run, and if not, why"
    assert len(found) == 1, found


@pytest.mark.parametrize("one", CLASSES, ids=lambda one: one.pattern)
def test_a_class_has_a_command(one: Run | Parsed) -> None:
    assert any(one in classes_of(spelled(shown)) for shown in COMMANDS)


@pytest.mark.parametrize(
    "one", [one for one in CLASSES if isinstance(one, Parsed)], ids=lambda one: one.pattern
)
def test_what_is_not_run_has_a_reason(one: Parsed) -> None:
    assert len(one.because) > 5
    assert not one.tested_in or (ROOT / one.tested_in).is_file()


@pytest.mark.parametrize(
    ("shown", "how"), runs(), ids=lambda one: spelled(one) if isinstance(one, Shown) else ""
)
def test_a_command_does_what_it_says(
    shown: Shown, how: Run, place: Place, request: pytest.FixtureRequest
) -> None:
    for program in how.needs:
        if shutil.which(program) is None:
            absent(program, unchecked=f"that this works: {spelled(shown)}", reason="not on PATH")
    if how.cluster:
        request.getfixturevalue("cluster")
    if how.after_new_version:
        place.new_version()
    words = shown.command.words
    if how.serves:
        # The ports of the guides are those of the tests' service and monitor here.
        port = str(free_port())
        address = how.serves.replace("8000", port).replace("8080", port)
        with place.serving((*words, "--port", port), address):
            return
    place.run(words)
