from __future__ import annotations

import pytest

from monitoring import addresses
from monitoring.addresses import RedisAddress, Secret, http_url, ollama_url, redis_address


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ollama", "http://ollama:11434"),
        ("ollama:80", "http://ollama:80"),
        (":8000", "http://127.0.0.1:8000"),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:11435", "http://127.0.0.1:11435"),
        ("[::]:11435", "http://[::1]:11435"),
        ("[::1]", "http://[::1]:11434"),
        ("[fd00::1]:9", "http://[fd00::1]:9"),
        ("::1", "http://[::1]:11434"),
        ("http://ollama", "http://ollama:80"),
        ("HTTP://ollama", "http://ollama:80"),
        ("https://example.org", "https://example.org:443"),
        ("https://example.org:8443/below/", "https://example.org:8443/below"),
        ("example.org/below", "http://example.org:11434/below"),
        (' "ollama:1" ', "http://ollama:1"),
    ],
)
def test_ollama_in_all_its_forms(text: str, url: str) -> None:
    assert ollama_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "ftp://a",
        "a:0",
        "a:99999",
        "a:b",
        "[::1",
        "a b",
        "user:word@a",
        "a?q",
        "a\nb",
        "-a",
    ],
)
def test_what_is_no_ollama(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        ollama_url(text)


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("redis://redis", RedisAddress("redis", 6379), "redis://redis:6379"),
        ("redis://redis:7000/3", RedisAddress("redis", 7000), "redis://redis:7000"),
        ("rediss://r", RedisAddress("r", 6379, tls=True), "rediss://r:6379"),
        ("redis://[::1]:1", RedisAddress("::1", 1), "redis://[::1]:1"),
        (
            "redis://:p%40ss@r",
            RedisAddress("r", 6379, password=Secret("p@ss")),
            "redis://:***@r:6379",
        ),
        (
            "redis://user:hunter@r",
            RedisAddress("r", 6379, user="user", password=Secret("hunter")),
            "redis://user:***@r:6379",
        ),
    ],
)
def test_redis(text: str, address: RedisAddress, shown: str) -> None:
    found = redis_address(text)
    assert found == address
    assert found.shown == shown
    assert "hunter" not in repr(found)
    assert "p@ss" not in repr(found)


@pytest.mark.parametrize(
    "text", ["redis", "http://redis", "redis://r:0", "redis://r:x", "redis://r/a", "redis://a b"]
)
def test_what_is_no_redis(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        redis_address(text)


def test_http_loses_its_last_slash() -> None:
    assert http_url("https://a.example:8/b/") == "https://a.example:8/b"


@pytest.mark.parametrize("host", ["a..b", "-a", "x" * 64, "1::2::3"])
def test_a_host_that_cannot_be_one_is_refused(host: str) -> None:
    bracketed = f"[{host}]" if ":" in host else host
    for read, text in (
        (redis_address, f"redis://{bracketed}"),
        (http_url, f"http://{bracketed}"),
        (addresses._check_host, host),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            read(text)


def test_a_secret_is_equal_to_the_same_secret_alone() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("a").reveal() == "a"
