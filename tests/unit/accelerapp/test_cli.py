from __future__ import annotations

import json
import os
import platform
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import accelerapp
from accelerapp import cli

SOURCE = Path(accelerapp.__file__).parents[1]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("ACCELERAPP_")}
    return subprocess.run(
        (sys.executable, "-m", "accelerapp", *arguments),
        env={**environ, "PYTHONPATH": str(SOURCE), **variables},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_version_is_the_package_version() -> None:
    result = run("--version")
    assert (result.returncode, result.stdout) == (0, f"accelerapp {accelerapp.__version__}\n")
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", accelerapp.__version__)


def test_info_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["name: accelerapp", f"version: {accelerapp.__version__}"]
    assert f"python: {platform.python_version()}" in lines


def test_info_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERAPP_REVISION", "abc123")
    assert cli.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "accelerapp",
        "version": accelerapp.__version__,
        "revision": "abc123",
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def test_info_answers_when_the_settings_are_wrong() -> None:
    assert run("info", ACCELERAPP_PORT="abc").returncode == 0


def test_info_does_not_import_the_server() -> None:
    program = (
        "import sys; from accelerapp.cli import main; main(['info', '--json']);"
        "print(*sys.modules, file=sys.stderr)"
    )
    result = subprocess.run(
        (sys.executable, "-c", program),
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    loaded = set(result.stderr.split())
    assert "accelerapp.about" in loaded
    assert not loaded & {"bottle", "waitress", "accelerapp.web", "logging", "socket", "dataclasses"}


@pytest.mark.parametrize("arguments", [(), ("serve", "--nope"), ("dance",)])
def test_bad_usage_exits_2(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("usage: accelerapp")


@pytest.mark.parametrize(
    ("arguments", "variables", "blamed"),
    [
        ((), {"ACCELERAPP_PORT": "abc"}, "ACCELERAPP_PORT='abc'"),
        ((), {"ACCELERAPP_THREADS": "many"}, "ACCELERAPP_THREADS='many'"),
        (("--port", "70000"), {}, "--port='70000'"),
    ],
)
def test_bad_setting_is_one_line_and_exit_2(
    arguments: tuple[str, ...], variables: dict[str, str], blamed: str
) -> None:
    result = run("serve", *arguments, **variables)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"accelerapp: {blamed} cannot be used; give ")
    assert result.stderr.count("\n") == 1


def test_port_in_use_is_one_line_and_exit_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("serve", "--port", str(port))
    assert result.returncode == 3
    assert result.stderr.startswith(
        f"accelerapp: cannot listen on 127.0.0.1 port {port}: Address already in use; "
    )
    assert result.stderr.count("\n") == 1


def test_unknown_host_is_one_line_and_exit_3() -> None:
    result = run("serve", "--host", "nowhere.invalid", "--port", "0")
    assert result.returncode == 3
    assert "cannot listen on nowhere.invalid port 0: " in result.stderr
    assert "Unknown error" not in result.stderr
    assert result.stderr.count("\n") == 1


def test_address_of_another_machine_is_one_line_and_exit_3() -> None:
    # 192.0.2.0/24 is set aside for documentation: no machine has it.
    result = run("serve", ACCELERAPP_HOST="192.0.2.1", ACCELERAPP_PORT="0")
    assert result.returncode == 3
    assert "cannot listen on 192.0.2.1 port 0" in result.stderr
    assert result.stderr.count("\n") == 1
