"""Requests to registries over loopback: what fails, what passes, and where nothing may go."""

from __future__ import annotations

import email.utils
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RedirectUnsafe, RegistryRefused, RegistryUnavailable, ToolMissing
from pipeline.oci.registry import http as http_module
from pipeline.oci.registry.addresses import resolve
from pipeline.oci.registry.http import (
    SMALL_BYTES,
    Answer,
    Body,
    Http,
    Patience,
    Place,
    Request,
    base_url,
    described,
)
from tests.unit.certificates import make_certificate
from tests.unit.pipeline.oci.registry.faulty_registry import (
    Call,
    FaultyRegistry,
    drop,
    drop_answer,
    status,
)

REPOSITORY = Path(__file__).parents[5]
SECRET = "Bearer s3cret-token"


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as loopback:
        yield loopback


class Client:
    """Requests with little patience, and how long it would have waited."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.http = Http(
            Patience(
                attempts=4,
                connect_attempts=2,
                connect_timeout_s=2,
                read_timeout_s=2,
                backoff_limit_s=1,
                sleep=self.waits.append,
            )
        )

    def __call__(
        self, url: str, method: str = "GET", data: bytes | None = None, home: str = ""
    ) -> Answer:
        body = None if data is None else Body.of(data, "text/plain")
        return self.http.ask(
            Request(method, url, "asking in a test", body=body, authorization=SECRET, home=home)
        )


@pytest.fixture
def ask() -> Iterator[Client]:
    client = Client()
    yield client
    client.http.close()


# Tries.


def test_requests_to_one_registry_share_a_connection(registry: FaultyRegistry, ask: Client) -> None:
    for _ in range(5):
        assert ask(f"{registry.url}/v2/").status == 200
    ask(f"{registry.url}/v2/o/app/blobs/sha256:0")
    assert len({seen.port for seen in registry.requests}) == 1


@pytest.mark.parametrize(
    ("value", "least_s", "most_s"),
    [
        ("3", 3, 3),
        ("0", 0, 0.5),
        ("-5", 0, 0.5),
        ("soon", 0, 0.5),
        ("99999999999999999999999999", 60, 60),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 60, 60),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 0.5),
        ("Fri, 99 Foo 99999 23:59:59 GMT", 0, 0.5),
    ],
)
def test_a_retry_after_is_obeyed_within_bounds(
    registry: FaultyRegistry, ask: Client, value: str, least_s: float, most_s: float
) -> None:
    registry.fault("GET", status(429, Retry_After=value))
    assert ask(f"{registry.url}/v2/").status == 200
    (wait_s,) = ask.waits
    assert least_s <= wait_s <= most_s


def test_a_retry_after_may_be_a_date(registry: FaultyRegistry, ask: Client) -> None:
    date = email.utils.formatdate(time.time() + 20, usegmt=True)
    registry.fault("GET", status(503, Retry_After=date))
    ask(f"{registry.url}/v2/")
    assert 10 < ask.waits[0] <= 20


def test_without_retry_after_pauses_grow_up_to_a_limit(
    registry: FaultyRegistry, ask: Client
) -> None:
    registry.fault("GET", *[status(429)] * 3)
    ask(f"{registry.url}/v2/")
    first, second, third = ask.waits
    assert 0.25 <= first <= 0.5 <= second <= 1
    assert 0.5 <= third <= 1


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 413, 416, 501])
def test_other_errors_are_answers_at_once(registry: FaultyRegistry, ask: Client, code: int) -> None:
    registry.fault("GET", status(code))
    assert ask(f"{registry.url}/v2/").status == code
    assert ask.waits == []


def test_a_registry_that_is_not_there_is_out_of_reach(ask: Client) -> None:
    with FaultyRegistry() as registry:
        url = registry.url
    with pytest.raises(RegistryUnavailable) as caught:
        ask(f"{url}/v2/?token=s3cret")
    assert str(caught.value) == (
        f"{url.removeprefix('http://')} is out of reach (asking in a test): Connection refused, "
        "tried 2 times; check its name, the network and the proxy"
    )


def test_a_registry_that_says_nothing_is_given_up(registry: FaultyRegistry, ask: Client) -> None:
    def say_nothing(call: Call) -> bool:
        time.sleep(0.2)
        call.hang_up()
        return True

    ask.http.patience = replace(ask.http.patience, read_timeout_s=0.05, attempts=2)
    registry.fault("GET", always=say_nothing)
    with pytest.raises(RegistryUnavailable, match=r"keeps failing .*[Tt]imed out.*tried 2 times"):
        ask(f"{registry.url}/v2/")


def test_what_is_not_http_is_given_up(registry: FaultyRegistry, ask: Client) -> None:
    def garbage(call: Call) -> bool:
        call.wfile.write(b"\x00\x01\x02 hello\r\n\r\n")
        call.hang_up(reset=False)
        return True

    registry.fault("GET", always=garbage)
    with pytest.raises(RegistryUnavailable, match="tried 4 times"):
        ask(f"{registry.url}/v2/")


def test_an_answer_that_is_cut_off_is_asked_for_again(
    registry: FaultyRegistry, ask: Client
) -> None:
    digest = registry.put_blob("o/app", b"x" * 5000)
    registry.fault("GET", drop_answer(after_bytes=100), drop())
    assert ask(f"{registry.url}/v2/o/app/blobs/{digest}").body == b"x" * 5000
    assert registry.methods() == ["GET", "GET", "GET"]


def test_a_body_is_opened_anew_for_every_try(registry: FaultyRegistry, ask: Client) -> None:
    bodies: list[bytes] = []

    def take(call: Call) -> bool:
        bodies.append(call.receive())
        call.answer(503 if len(bodies) < 3 else 200)
        return True

    registry.fault("PUT", always=take)
    assert ask(f"{registry.url}/v2/", "PUT", b"the body").status == 200
    assert bodies == [b"the body"] * 3
    assert {seen.headers["content-length"] for seen in registry.requests} == {"8"}
    assert not any("transfer-encoding" in seen.headers for seen in registry.requests)


@pytest.mark.parametrize("abrupt", [False, True])
@pytest.mark.parametrize("code", [401, 403, 413])
def test_an_answer_before_the_body_was_read_is_read(
    registry: FaultyRegistry, ask: Client, code: int, abrupt: bool
) -> None:
    said = '{"errors": [{"code": "EARLY"}]}'
    registry.fault("PUT", status(code, said, early=True, abrupt=abrupt))
    answer = ask(f"{registry.url}/v2/", "PUT", b"x" * 8_000_000)
    assert answer.status == code
    assert ask(f"{registry.url}/v2/").status == 200


# What errors say.


def test_only_the_beginning_of_a_huge_answer_is_read(registry: FaultyRegistry, ask: Client) -> None:
    def endless(call: Call) -> bool:
        call.send_response(400)
        call.send_header("Content-Type", "text/plain")
        call.send_header("Content-Length", str(10**12))
        call.end_headers()
        while True:  # Until the client hangs up.
            try:
                call.wfile.write(b"no " * 20_000)
            except OSError:
                call.close_connection = True
                return True

    registry.fault("GET", endless)
    answer = ask(f"{registry.url}/v2/")
    assert (answer.status, len(answer.body), answer.is_whole) == (400, SMALL_BYTES, False)
    assert len(described(answer, Request("GET", "", ""))) < 300


def told(body: bytes, content_type: str = "application/json") -> str:
    place = Place("https", "r.test", 443, "/v2/")
    headers = {"content-type": content_type}
    answer = Answer(400, "Bad\x1b Request", headers, body, True, place, True)
    return described(answer, Request("GET", "", "", authorization=SECRET))


def test_the_registrys_own_words_are_shown() -> None:
    assert (
        told(b'{"errors": [{"code": "A", "message": "first"}, {"code": "B"}, {"detail": 1}, 7]}')
        == "HTTP 400 Bad Request: A: first; B"
    )


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("two\\nlines\\u001b[2J\\u0007\\u202etxt", "two lines [2J txt"),
        ("see https://x.test/a?token=abc#d for more", "see https://x.test/a for more"),
        ("see https://me:pw@x.test/a", "see https://x.test/a"),
        ("you sent Bearer abcdefgh.ijkl", "you sent Bearer ***"),
        ("got s3cret-token", "got ***"),
        ("x" * 5000, "x" * 197 + "…"),
    ],
)
def test_what_it_says_is_one_clean_line_without_secrets(said: str, shown: str) -> None:
    text = told(f'{{"errors": [{{"code": "E", "message": "{said}"}}]}}'.encode())
    assert text == f"HTTP 400 Bad Request: E: {shown}"


@pytest.mark.parametrize(
    "body", [b"<html>no</html>", b"", b"[", b"null", b'{"errors": 7}', b"[" * 100_000, b"\xff"]
)
def test_an_error_that_is_not_a_registrys_shows_its_status(body: bytes) -> None:
    assert told(body, "text/html") == "HTTP 400 Bad Request"


@given(st.binary(max_size=300), st.sampled_from(["text/plain", "application/json"]))
def test_whatever_an_error_says_is_one_line(body: bytes, content_type: str) -> None:
    assert told(body, content_type).isprintable()


def test_a_request_does_not_show_what_it_carries() -> None:
    request = Request(
        "GET",
        "https://r.test/?sig=s3cret",
        "asking",
        headers={"Authorization": SECRET},
        authorization=SECRET,
        home="https://me:s3cret@r.test",
    )
    assert "s3cret" not in repr(request)
    assert "s3cret" not in repr(Place.parse("https://r.test/?sig=s3cret"))
    assert str(Place.parse("https://r.test/a?sig=s3cret")) == "https://r.test/a"


# Redirects.


@pytest.mark.parametrize(
    ("code", "method", "then"),
    [
        *((code, method, method) for code in (301, 302, 307, 308) for method in ("GET", "HEAD")),
        *((code, method, method) for code in (301, 302, 307, 308) for method in ("POST", "PUT")),
        *((303, method, "GET") for method in ("GET", "POST", "PUT", "PATCH")),
        (303, "HEAD", "HEAD"),
    ],
)
def test_a_redirect_is_followed_without_the_credentials(
    registry: FaultyRegistry, ask: Client, code: int, method: str, then: str
) -> None:
    bodies: list[bytes] = []

    def take(call: Call) -> bool:
        bodies.append(call.receive())
        call.answer(200)
        return True

    with FaultyRegistry() as storage:
        storage.fault(then, take)
        registry.fault(method, status(code, Location=f"{storage.url}/blob?sig=1"))
        sent = None if method in ("GET", "HEAD") else b"body"
        answer = ask(f"{registry.url}/v2/", method, sent)
        assert (answer.status, answer.is_home) == (200, False)
        assert storage.said() == [f"{then} /blob?sig=1"]
        assert storage.requests[0].authorization == ""
        assert storage.requests[0].headers["host"] == storage.host
        assert bodies == [b"body" if then == method and sent else b""]
    assert registry.requests[0].authorization == SECRET


def test_a_redirect_within_the_registry_keeps_the_credentials(
    registry: FaultyRegistry, ask: Client
) -> None:
    registry.fault("GET", status(307, Location="/v2/"))
    assert ask(f"{registry.url}/v2/old").is_home
    assert [seen.authorization for seen in registry.requests] == [SECRET, SECRET]


def test_credentials_do_not_come_back_from_elsewhere(registry: FaultyRegistry, ask: Client) -> None:
    with FaultyRegistry() as other:
        other.fault("GET", status(307, Location=f"{registry.url}/v2/"))
        registry.fault("GET", status(307, Location=f"{other.url}/"))
        assert not ask(f"{registry.url}/v2/old").is_home
    assert [seen.authorization for seen in registry.requests] == [SECRET, ""]


@pytest.mark.parametrize("location", ["/v2/loop", "/v2/{n}"])
def test_redirects_come_to_an_end(registry: FaultyRegistry, ask: Client, location: str) -> None:
    registry.fault("GET", always=status(302, Location=location))
    with pytest.raises(RegistryRefused, match=r"redirects more than 8 times \(asking in a test\)"):
        ask(f"{registry.url}/v2/loop")
    assert len(registry.requests) == 9


def test_a_redirect_to_nowhere_is_an_answer(registry: FaultyRegistry, ask: Client) -> None:
    registry.fault("GET", status(302))
    assert ask(f"{registry.url}/v2/").status == 302


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://x", "http://[bad/", "data:,"])
def test_a_redirect_that_is_not_http_is_not_followed(
    registry: FaultyRegistry, ask: Client, location: str
) -> None:
    registry.fault("GET", status(302, Location=location))
    with pytest.raises(RedirectUnsafe, match="cannot be used"):
        ask(f"{registry.url}/v2/")


def test_a_private_registry_may_keep_its_blobs_at_another_private_address(
    registry: FaultyRegistry, ask: Client
) -> None:
    registry.fault("GET", always=status(307, Location="http://127.0.0.2:9/blob"))
    with pytest.raises(RegistryUnavailable, match="Connection refused"):
        ask(f"{registry.url}/v2/")  # It was asked; there is nobody.


PUBLIC = "93.184.215.14"


@pytest.fixture
def public(registry: FaultyRegistry, monkeypatch: pytest.MonkeyPatch) -> FaultyRegistry:
    """A registry that is asked for by a public name: the loopback one is its proxy."""
    known = {
        "registry.test": (PUBLIC,),
        "inside.test": ("10.0.0.7",),
        "mixed.test": (PUBLIC, "fe80::1"),
    }
    monkeypatch.setattr(http_module, "resolve", lambda host: known.get(host) or resolve(host))
    monkeypatch.setenv("http_proxy", registry.url)
    monkeypatch.setenv("no_proxy", "")
    return registry


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "PUT"])
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "10.0.0.1",
        "192.168.1.1:8080",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "[::1]",
        "[fd00::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "inside.test",
        "mixed.test",
    ],
)
def test_a_public_registry_may_not_name_private_addresses(
    public: FaultyRegistry, ask: Client, method: str, host: str
) -> None:
    public.fault(method, status(307, Location=f"http://{host}/latest?sig=s3cret"))
    with pytest.raises(RedirectUnsafe) as caught:
        ask("http://registry.test/v2/", method)
    assert "registry.test sends a request to a private address" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert len(public.requests) == 1
    assert public.requests[0].headers["host"] == "registry.test"


def test_a_place_that_a_registry_names_is_checked_like_a_redirect(
    public: FaultyRegistry, ask: Client
) -> None:
    with pytest.raises(RedirectUnsafe, match="private address"):
        ask("http://10.0.0.1/upload", "PATCH", b"x", "http://registry.test")
    assert public.requests == []


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    registry: FaultyRegistry, ask: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyRegistry() as storage:
        port = storage.host.rpartition(":")[2]
        # No name server knows this name: only what was checked leads there.
        answers = {"storage.invalid": ("127.0.0.5", "127.0.0.1")}
        monkeypatch.setattr(http_module, "resolve", lambda host: answers.get(host) or resolve(host))
        registry.fault("GET", status(307, Location=f"http://storage.invalid:{port}/v2/"))
        assert ask(f"{registry.url}/v2/").status == 200
        assert storage.requests[0].headers["host"] == f"storage.invalid:{port}"


def test_a_name_that_nobody_knows_is_out_of_reach(
    registry: FaultyRegistry, ask: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_module, "resolve", lambda _host: ())
    registry.fault("GET", always=status(307, Location="http://storage.invalid/"))
    with pytest.raises(RegistryUnavailable, match="does not resolve, tried 2 times"):
        ask(f"{registry.url}/v2/")


# Plain http and TLS.


@pytest.mark.parametrize(
    ("registry_name", "plain_http", "url"),
    [
        ("localhost:5000", False, "http://localhost:5000"),
        ("127.9.9.9", False, "http://127.9.9.9"),
        ("[::1]:5000", False, "http://[::1]:5000"),
        ("ghcr.io", False, "https://ghcr.io"),
        ("localhost.example", False, "https://localhost.example"),
        ("10.0.0.1:5000", False, "https://10.0.0.1:5000"),
        ("10.0.0.1:5000", True, "http://10.0.0.1:5000"),
    ],
)
def test_only_loopback_is_spoken_to_plainly_without_being_asked(
    registry_name: str, plain_http: bool, url: str
) -> None:
    assert base_url(registry_name, plain_http=plain_http) == url


def test_a_place_without_tls_is_no_place_to_go_from_one_with(ask: Client) -> None:
    with pytest.raises(RedirectUnsafe, match=r"from https to plain http: http://r\.test/upload"):
        ask("http://r.test/upload?sig=1", "PATCH", b"x", "https://r.test")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a certificate for `localhost` and `storage.invalid` with its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    return make_certificate(folder, "localhost", "storage.invalid", unchecked="registries over TLS")


@pytest.fixture
def secure(certificate: Path, registry: FaultyRegistry) -> FaultyRegistry:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    registry.wrap(context)
    return registry


def https(registry: FaultyRegistry, host: str = "localhost") -> str:
    return f"https://{host}:{registry.host.rpartition(':')[2]}"


def test_a_certificate_that_the_user_names_is_trusted(
    secure: FaultyRegistry, certificate: Path, ask: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    secure.fault("GET", status(307, Location=f"{secure.url}/v2/"))
    with pytest.raises(RedirectUnsafe, match="from https to plain http"):
        ask(f"{https(secure)}/v2/")
    assert ask(f"{https(secure)}/v2/").status == 200


def test_an_answer_before_the_body_was_read_is_read_over_tls(
    secure: FaultyRegistry, certificate: Path, ask: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    secure.fault("PUT", status(413, early=True))
    assert ask(f"{https(secure)}/v2/", "PUT", b"x" * 300_000).status == 413


def test_a_certificate_that_nobody_vouches_for_is_not_tried_again(
    secure: FaultyRegistry, ask: Client
) -> None:
    with pytest.raises(RegistryUnavailable) as caught:
        ask(f"{https(secure)}/v2/")
    assert "TLS: " in str(caught.value)
    assert "tried once; name the registry's certificate authority" in str(caught.value)
    assert secure.requests == []


@pytest.mark.parametrize(
    ("name", "is_right"), [("storage.invalid", True), ("other.invalid", False)]
)
def test_a_checked_address_still_has_to_prove_the_name(
    secure: FaultyRegistry,
    certificate: Path,
    ask: Client,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    is_right: bool,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(http_module, "resolve", lambda _host: ("127.0.0.1",))
    secure.fault("GET", status(307, Location=f"{https(secure, name)}/v2/"))
    if is_right:
        assert ask(f"{https(secure)}/").status == 200
        assert secure.requests[1].headers["host"].startswith(f"{name}:")
    else:
        with pytest.raises(RegistryUnavailable, match=r"TLS: .*other\.invalid"):
            ask(f"{https(secure)}/")


# What it needs.


def test_importing_the_client_loads_neither_http_nor_tls() -> None:
    code = (
        "import sys, pipeline.oci.registry.client\n"
        "sys.exit(' '.join({'urllib3', 'ssl'} & set(sys.modules)) or 0)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environ, cwd=REPOSITORY)


def test_without_urllib3_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "urllib3", None)
    with pytest.raises(ToolMissing, match=r"urllib3.*requirements/dev\.txt"):
        Http()
