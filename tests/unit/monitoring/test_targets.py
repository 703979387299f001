from __future__ import annotations

import errno
import json
import sys

import pytest

from monitoring.addresses import RedisAddress
from monitoring.checks import DiskSpace, Finding, Ollama, Status, Threshold
from monitoring.fetch import FetchError, HttpAnswer
from monitoring.targets import ask_application, ask_disk, ask_ollama, ask_python, ask_redis

OFF = Threshold("0")


@pytest.mark.parametrize(
    ("code", "body", "expected", "output"),
    [
        (200, b'{"status": "pass"}', "pass", "answered 200"),
        (200, b'{"status": "warn"}', "warn", "answered 200, warn"),
        (200, b'{"status": "fail"}', "fail", "answered 200, fail"),
        (503, b'{"status": "pass"}', "fail", "answered 503"),
        (204, b"", "fail", "answered 204"),
        (302, b"", "fail", "answered 302"),
        (404, b"", "fail", "answered 404"),
        (200, b"<html>", "fail", "answered 200, but not as /readyz of Accelerapp does"),
        (200, b'{"status": []}', "fail", "answered 200, but not as /readyz of Accelerapp does"),
        (200, b'["pass"]', "fail", "answered 200, but not as /readyz of Accelerapp does"),
        (200, b"\xff", "fail", "answered 200, but not as /readyz of Accelerapp does"),
        (200, b"[" * 60_000, "fail", "answered 200, but not as /readyz of Accelerapp does"),
    ],
)
def test_application(code: int, body: bytes, expected: Status, output: str) -> None:
    finding = ask_application(
        "http://a/readyz", deadline_s=2, fetch=lambda *_: HttpAnswer(code, body)
    )
    assert finding == Finding(expected, output)


def refused(*_: object) -> HttpAnswer:
    raise FetchError("Connection refused")


def test_no_answer_is_a_finding() -> None:
    gone = Finding("fail", "Connection refused")
    assert ask_application("http://a", deadline_s=2, fetch=refused) == gone
    assert ask_ollama("http://a", models=(), deadline_s=2, fetch=refused) == gone


VERSION = b'{"version": "0.5.7"}'
TAGS = json.dumps(
    {"models": [{"name": "llama3.2:latest"}, {"name": "codellama:7b"}, {"name": "a/b:latest"}]}
).encode()


def ollama(version: bytes = VERSION, tags: bytes = TAGS, models: tuple[str, ...] = ()) -> Finding:
    bodies = {"http://o:1/below/api/version": version, "http://o:1/below/api/tags": tags}
    return ask_ollama(
        "http://o:1/below",
        models=models,
        deadline_s=2,
        fetch=lambda url, *_: HttpAnswer(200, bodies[url]),
    )


def test_ollama() -> None:
    assert ollama() == Finding("pass", "version 0.5.7, 3 models", None, Ollama("0.5.7", 3, {}))


def test_models_by_name_with_and_without_tag() -> None:
    wanted = ("llama3.2", "codellama:7b", "a/b")
    finding = ollama(models=wanted)
    assert finding.status == "pass"
    assert finding.found == Ollama("0.5.7", 3, dict.fromkeys(wanted, True))


def test_missing_model_fails_and_says_what_to_do() -> None:
    finding = ollama(models=("llama3.2", "codellama"))
    assert finding.status == "fail"
    assert finding.output == "without codellama: run 'ollama pull codellama' there"
    assert finding.found == Ollama("0.5.7", 3, {"llama3.2": True, "codellama": False})


@pytest.mark.parametrize(
    ("version", "tags"),
    [
        (b"<html>", TAGS),
        (b"{}", TAGS),
        (b'{"version": 5}', TAGS),
        (VERSION, b"[]"),
        (VERSION, b'{"models": 3}'),
        (VERSION, b""),
    ],
)
def test_what_is_no_ollama(version: bytes, tags: bytes) -> None:
    assert ollama(version, tags) == Finding("fail", "answered, but not as Ollama does")


def test_version_that_is_none_is_not_repeated() -> None:
    finding = ollama(b'{"version": "<b>\\n"}')
    assert finding == Finding("pass", "3 models", None, Ollama("", 3, {}))


def test_two_requests_have_one_deadline() -> None:
    given: list[float] = []
    times_s = iter((10.0, 11.5))

    def fetch(url: str, deadline_s: float, _: int) -> HttpAnswer:
        given.append(deadline_s)
        return HttpAnswer(200, VERSION if "version" in url else TAGS)

    clock = times_s.__next__
    ask_ollama("http://o:1", models=(), deadline_s=2, fetch=fetch, clock=clock)
    assert given == [2, 0.5]


def test_ollama_without_time_for_the_second_request() -> None:
    times_s = iter((10.0, 12.5))
    finding = ask_ollama(
        "http://o:1",
        models=(),
        deadline_s=2,
        fetch=lambda *_: HttpAnswer(200, VERSION),
        clock=times_s.__next__,
    )
    assert finding == Finding("fail", "no answer within 2 s")


def test_redis() -> None:
    def fails(_address: RedisAddress, _deadline_s: float) -> None:
        raise FetchError("it is loading its data")

    address = RedisAddress("r", 1)
    done = ask_redis(address, deadline_s=2, ping=lambda *_: None)
    assert done == Finding("pass", "answered PONG")
    assert ask_redis(address, deadline_s=2, ping=fails).output == "it is loading its data"


def test_disk() -> None:
    finding = ask_disk("/d", warn=OFF, fail=OFF, read=lambda path: (len(path), 9))
    assert finding == Finding("pass", "/d: enough free", 2, DiskSpace("/d", 2, 9))


def test_disk_that_cannot_be_read_fails() -> None:
    def read(path: str) -> tuple[int, int]:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    finding = ask_disk("/gone", warn=OFF, fail=OFF, read=read)
    assert finding == Finding("fail", "/gone: No such file or directory")


@pytest.mark.parametrize(
    ("version", "installed", "expected", "output"),
    [
        ((3, 11, 2), "0.13.2", "pass", "Python 3.11.2, bottle 0.13.2"),
        ((3, 14, 0), "1.0", "pass", "Python 3.14.0, bottle 1.0"),
        ((3, 10, 9), "0.13.2", "fail", "Python 3.10.9; 3.11 or later is needed"),
        ((3, 11, 2), None, "fail", "bottle is not installed"),
        ((3, 11, 2), "0.12.9", "fail", "bottle 0.12.9 is installed; 0.13.2 or later is needed"),
    ],
)
def test_python(
    version: tuple[int, ...], installed: str | None, expected: Status, output: str
) -> None:
    finding = ask_python({"bottle": "0.13.2"}, version=version, installed=lambda _: installed)
    assert finding == Finding(expected, output)


@pytest.mark.parametrize(
    ("installed", "expected"),
    [("1.2.3.4", "pass"), ("1.2.3.10", "pass"), ("1.2.3.3", "fail"), ("1.2.3", "fail")],
)
def test_versions_are_compared_whole(installed: str, expected: Status) -> None:
    finding = ask_python({"a": "1.2.3.4"}, version=(3, 12), installed=lambda _: installed)
    assert finding.status == expected


def test_the_oldest_python_is_new_enough() -> None:
    assert ask_python({}, version=(3, 11), installed=lambda _: None).status == "pass"


def test_python_is_told_by_three_numbers() -> None:
    finding = ask_python({}, version=(3, 12, 1, 99), installed=lambda _: None)
    assert finding == Finding("pass", "Python 3.12.1")
    # Of the interpreter itself, too: "final" and what follows are not shown.
    said = ".".join(map(str, sys.version_info[:3]))
    assert ask_python({}, installed=lambda _: None) == Finding("pass", f"Python {said}")


def test_ollama_that_used_all_of_the_time_is_not_asked_again() -> None:
    asked: list[str] = []

    def fetch(url: str, *_: object) -> HttpAnswer:
        asked.append(url)
        return HttpAnswer(200, VERSION)

    times_s = iter((10.0, 12.0))
    finding = ask_ollama("http://o:1", models=(), deadline_s=2, fetch=fetch, clock=times_s.__next__)
    assert finding == Finding("fail", "no answer within 2 s")
    assert asked == ["http://o:1/api/version"]


@pytest.mark.parametrize(("count", "said"), [(0, "0 models"), (1, "1 model"), (2, "2 models")])
def test_models_are_counted(count: int, said: str) -> None:
    tags = json.dumps({"models": [{"name": f"m{i}"} for i in range(count)]}).encode()
    assert ollama(tags=tags).output == f"version 0.5.7, {said}"
