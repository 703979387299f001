"""`monitor`: flags go before the environment, and the monitor's exit codes come through."""

from __future__ import annotations

import json
import logging
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence

import pytest

from monitoring import monitor
from pipeline.errors import OptionInvalid
from tests.unit.pipeline.tasks.test_namespace import run


@pytest.fixture(autouse=True)
def own_signals_and_log() -> Iterator[None]:
    """The monitor takes both over for its process, which here is that of all tests."""
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for number, handler in signals.items():
        signal.signal(number, handler)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_flags_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str | None, str | None]] = []

    def main(_argv: Sequence[str], environ: Mapping[str, str]) -> int:
        given.append((environ.get("MONITOR_HOST"), environ.get("MONITOR_PORT")))
        return 0

    monkeypatch.setattr(monitor, "main", main)
    monkeypatch.setenv("MONITOR_PORT", "1234")
    monkeypatch.delenv("MONITOR_HOST", raising=False)
    assert run("monitor") == 0
    assert run("monitor", "--host=::1", "--port=0") == 0
    assert given == [(None, "1234"), ("::1", "0")]


def test_refusals_of_the_monitor_come_through(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("monitor", "--port=http") == 2
    assert capsys.readouterr().err.startswith("monitor: MONITOR_PORT='http' cannot be used;")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert run("monitor", "--host=127.0.0.1", f"--port={listener.getsockname()[1]}") == 3


def test_check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("ACCELERAPP_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert run("monitor", "--check", "--json") == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert checks["accelerapp:responseTime"][0]["output"] == "Connection refused"


@pytest.mark.parametrize("flags", [("--check", "--port=1"), ("--json",)])
def test_flags_that_do_not_go_together(
    flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("monitor", *flags) == OptionInvalid.exit_code
    assert capsys.readouterr().err.startswith("error: ")
