from __future__ import annotations

import pytest

from accelerapp.addresses import Secret, ollama_url, redis_url
from monitoring import addresses as monitors

TEXTS = """
ollama|ollama:80|:8000|127.0.0.1|0.0.0.0|0.0.0.0:11435|[::]:11435|[::1]|[fd00::1]:9|::1|::|x:
http://ollama|HTTP://ollama|https://example.org|https://example.org:8443/below/|example.org/below
"ollama:1"|http://|/below|ftp://a|a:0|a:99999|a:b|[::1|a b|user:word@a|a?q|-a|a#b|a\\b|http://a:x
fe80::1%eth0|x..y|https://[::1]/a
""".strip().replace("\n", "|").split("|")  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_ollama_is_read_as_the_monitor_reads_it(text: str) -> None:
    found = []
    for read in (ollama_url, monitors.ollama_url):
        try:
            found.append(read(text))
        except ValueError:
            found.append("")
    assert found[0] == found[1]


def test_some_are_addresses_and_some_are_none() -> None:
    assert ollama_url(" 'ollama' ") == "http://ollama:11434"
    assert ollama_url("https://example.org/ollama/") == "https://example.org:443/ollama"
    with pytest.raises(ValueError):  # noqa: PT011
        ollama_url("a\nb")


@pytest.mark.parametrize(
    "text", ["redis://redis", "redis://:word@redis:6379/0", "rediss://u:w@[::1]:1/15", "redis://"]
)
def test_redis_addresses_are_secrets(text: str) -> None:
    assert redis_url(f" {text} ") == Secret(text)
    assert repr(redis_url(text)) == str(redis_url(text)) == "***"


@pytest.mark.parametrize(
    "text",
    [
        "redis",
        "http://redis",
        "redis://a b",
        "redis://a:0",
        "redis://a:x",
        "redis://a/x",
        "redis://-a",
    ],
)
def test_what_is_no_redis(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        redis_url(text)
