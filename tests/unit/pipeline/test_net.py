"""Connections as a person's machine is set up for them."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
from urllib3 import exceptions

from pipeline.errors import OptionInvalid
from pipeline.net import Failure, failure_of, open_pool, proxy_for, tls_context


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.endswith(("_CERT_FILE", "_CA_BUNDLE")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1:5000", "[::1]:5000"])
def test_this_machine_is_behind_no_proxy(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert proxy_for(f"http://{host}/v2/") == ""
    assert proxy_for("http://127.0.0.1.example/v2/") == "http://proxy.example:3128"


def test_the_proxy_of_a_url_is_that_of_its_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://secure.test:1")
    monkeypatch.setenv("all_proxy", "http://any.test:2")
    monkeypatch.setenv("no_proxy", "inside.test")
    assert proxy_for("https://a.test/x") == "http://secure.test:1"
    assert proxy_for("http://a.test/x") == "http://any.test:2"
    assert proxy_for("https://inside.test:5000/x") == ""


def test_without_settings_connections_are_direct() -> None:
    assert proxy_for("https://a.test/x") == ""
    assert open_pool("http").proxy is None


@pytest.mark.parametrize("proxy", ["http://me:pw@proxy.test:3128", "me:pw@proxy.test:3128"])
def test_a_proxys_credentials_are_for_the_proxy(proxy: str) -> None:
    pool = open_pool("http", proxy)
    assert pool.proxy is not None
    assert pool.proxy.url == "http://proxy.test:3128"
    assert pool.connection_pool_kw["_proxy_headers"] == {"proxy-authorization": "Basic bWU6cHc="}


def test_a_proxy_of_another_kind_is_refused_without_its_password() -> None:
    with pytest.raises(OptionInvalid, match=r"proxy 'gopher://proxy\.test' cannot be used"):
        open_pool("http", "gopher://me:pw@proxy.test")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_bundle_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "missing.pem"))
    with pytest.raises(OptionInvalid, match=rf"{variable} names .*missing\.pem.*unset"):
        tls_context()


def test_certificates_are_always_checked() -> None:
    context = tls_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (
            exceptions.SSLError(ssl.SSLCertVerificationError("not trusted")),
            Failure("TLS: ('not trusted',)", final=True),
        ),
        (
            exceptions.SSLError(ssl.SSLEOFError(8, "broken off")),
            Failure("TLS: broken off"),
        ),
        (
            exceptions.ConnectTimeoutError(None, "slow"),
            Failure("no connection in time", connected=False),
        ),
        (exceptions.ProtocolError("cut\noff"), Failure("cut off")),
        (ConnectionResetError(104, "reset"), Failure("[Errno 104] reset")),
        (
            exceptions.LocationParseError("x"),
            Failure("not a URL that can be fetched: Failed to parse: x", final=True),
        ),
        (ValueError("something else"), None),
    ],
)
def test_what_a_connection_raises_is_put_in_words(
    error: Exception, failure: Failure | None
) -> None:
    assert failure_of(error) == failure
