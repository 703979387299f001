"""What a registry has: blobs, manifests and tags, verified, over loopback."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import (
    AccessDenied,
    CredentialsRejected,
    NotInRegistry,
    RedirectUnsafe,
    RegistryCorrupt,
    RegistryRefused,
    RegistryUnavailable,
    TooLargeForRegistry,
)
from pipeline.oci.image import Descriptor, Document, Format, document_of
from pipeline.oci.registry.client import (
    MANIFEST_BYTES,
    UNKNOWN_SIZE,
    Outcome,
    Patience,
    Registry,
)
from pipeline.oci.registry.credentials import Credentials, Secret
from pipeline.oci.registry.reference import Reference, Repository
from tests.unit.pipeline.oci.registry.faulty_registry import (
    Call,
    Fault,
    FaultyRegistry,
    altered,
    drop,
    drop_answer,
    error,
    status,
    then,
)

DATA = bytes(range(256)) * 4096
"""A blob of 1 MiB."""
OCI = Format.OCI
MANIFEST = document_of(json.dumps({"schemaVersion": 2}).encode(), OCI.manifest_type)
CREDENTIALS = Credentials("me", Secret("pass word"), None, origin="a test")
PATIENCE = Patience(attempts=4, read_timeout_s=5, sleep=lambda _: None)


@pytest.fixture
def loopback() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture
def client() -> Iterator[Registry]:
    with Registry(credentials=lambda _: CREDENTIALS, patience=PATIENCE) as registry:
        yield registry


def repository(registry: FaultyRegistry, name: str = "o/app") -> Repository:
    return Repository(registry.host, name)


def tagged(registry: FaultyRegistry, tag: str = "1") -> Reference:
    return Reference(repository(registry), tag=tag)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


# Credentials.


@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer realm="{url}/token",service="s",scope="repository:o/app:pull"',
        'bearer   REALM="{url}/token" , Service=s',
        'Negotiate, Bearer service="a, \\"b\\"", realm="{url}/token", Basic realm="x"',
        "Bearer realm={quoted}",
    ],
)
def test_a_challenge_is_answered_with_a_token(
    guarded: FaultyRegistry, client: Registry, challenge: str
) -> None:
    digest = guarded.put_blob("o/app", DATA)
    text = challenge.format(url=guarded.url, quoted=f'"{guarded.url}/token"')
    guarded.fault("HEAD", status(401, WWW_Authenticate=text))
    assert client.has_blob(repository(guarded), digest) == len(DATA)
    assert client.has_blob(repository(guarded), digest) == len(DATA)
    assert guarded.methods() == ["HEAD", "HEAD", "HEAD"]
    first, second, third = guarded.seen("HEAD")
    assert first.authorization == ""
    assert second.authorization == third.authorization == f"Bearer {next(iter(guarded.tokens))}"


def test_a_basic_challenge_is_answered_with_the_password(client: Registry) -> None:
    with FaultyRegistry(users={"me": "pass word"}, scheme="Basic") as registry:
        assert client.has_blob(repository(registry), digest_of(b"")) is None
        assert [seen.authorization for seen in registry.requests] == [
            "",
            "Basic bWU6cGFzcyB3b3Jk",
        ]


@pytest.mark.parametrize("fault", [status(401), status(401, WWW_Authenticate="Negotiate")])
def test_a_401_that_cannot_be_satisfied_is_an_error(
    loopback: FaultyRegistry, client: Registry, fault: Fault
) -> None:
    loopback.fault("HEAD", always=fault)
    with pytest.raises(CredentialsRejected, match=loopback.host):
        client.has_blob(repository(loopback), digest_of(b""))
    assert len(loopback.requests) == 1


def test_without_credentials_the_error_says_how_to_get_some(guarded: FaultyRegistry) -> None:
    with (
        Registry(credentials=lambda _: None, patience=PATIENCE) as client,
        pytest.raises(CredentialsRejected, match=r"none were found.*docker login"),
    ):
        client.has_blob(repository(guarded), digest_of(b""))


def test_a_token_that_expires_is_renewed(guarded: FaultyRegistry, client: Registry) -> None:
    digest = guarded.put_blob("o/app", DATA)
    client.has_blob(repository(guarded), digest)
    guarded.expire_tokens()
    assert b"".join(client.read_blob(repository(guarded), digest, len(DATA))) == DATA


def test_what_is_denied_is_named(guarded: FaultyRegistry, client: Registry) -> None:
    with pytest.raises(AccessDenied, match=rf"reading {guarded.host}/o/theirs:1: HTTP 403.*DENIED"):
        client.get_manifest(Reference(repository(guarded, "o/theirs"), tag="1"))


def test_many_questions_at_once_share_tokens_and_connections(
    guarded: FaultyRegistry, client: Registry
) -> None:
    digests = [guarded.put_blob("o/app", bytes([number])) for number in range(40)]
    meeting = threading.Barrier(4)

    def ask(digest: str) -> int | None:
        if digest in digests[:4]:
            meeting.wait(5)
        return client.has_blob(repository(guarded), digest)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, digests)) == [1] * 40
    assert len(guarded.tokens) == 1
    assert len({seen.port for seen in guarded.requests}) <= 5
    assert len(guarded.methods()) <= 44


@pytest.mark.parametrize("said", ["me:pass word", "pass word", "bWU6cGFzcyB3b3Jk"])
def test_a_registry_that_repeats_a_password_is_not_quoted(client: Registry, said: str) -> None:
    with FaultyRegistry(users={"me": "pass word"}, scheme="Basic") as basic:
        client.head_manifest(tagged(basic))
        basic.fault("PUT", error(403, "DENIED", f"no {said}, no"))
        with pytest.raises(AccessDenied, match=r"no \*\*\*") as caught:
            client.put_manifest(tagged(basic), MANIFEST)
        assert said not in str(caught.value)


# Blobs.


def test_a_blob_that_is_not_there_has_no_size(loopback: FaultyRegistry, client: Registry) -> None:
    assert client.has_blob(repository(loopback), digest_of(DATA)) is None
    digest = loopback.put_blob("o/app", DATA)
    assert client.has_blob(repository(loopback), digest) == len(DATA)


def test_a_blob_without_a_size_is_there_all_the_same(
    loopback: FaultyRegistry, client: Registry
) -> None:
    digest = loopback.put_blob("o/app", DATA)
    loopback.fault("HEAD", altered(Content_Length=""))
    assert client.has_blob(repository(loopback), digest) == UNKNOWN_SIZE


@pytest.mark.parametrize("code", [405, 501])
def test_a_registry_without_head_is_asked_otherwise(
    loopback: FaultyRegistry, client: Registry, code: int
) -> None:
    loopback.fault("HEAD", always=status(code))
    digest = digest_of(DATA)
    assert client.has_blob(repository(loopback), digest) is None
    blob = io.BytesIO(DATA)
    sent = client.upload_blob(repository(loopback), digest, len(DATA), lambda: blob)
    assert sent.outcome is Outcome.SENT
    client.put_manifest(tagged(loopback), MANIFEST)
    found = client.head_manifest(tagged(loopback))
    assert found is not None
    assert found.digest == MANIFEST.descriptor.digest


@pytest.mark.parametrize("pushing", [True, False])
def test_a_push_asks_with_its_own_rights(
    guarded: FaultyRegistry, client: Registry, pushing: bool
) -> None:
    client.has_blob(repository(guarded), digest_of(DATA), pushing=pushing)
    client.head_manifest(tagged(guarded), pushing=pushing)
    (scopes,) = guarded.tokens.values()
    assert ("push" in scopes) is pushing


def test_a_blob_is_read(loopback: FaultyRegistry, client: Registry) -> None:
    digest = loopback.put_blob("o/app", DATA)
    pieces = list(client.read_blob(repository(loopback), digest, len(DATA)))
    assert b"".join(pieces) == DATA
    assert len(pieces) > 1
    assert loopback.said() == [f"GET /v2/o/app/blobs/{digest}"]
    assert loopback.requests[0].headers["accept-encoding"] == "identity"


def test_an_empty_blob_is_read(loopback: FaultyRegistry, client: Registry) -> None:
    digest = loopback.put_blob("o/app", b"")
    assert list(client.read_blob(repository(loopback), digest, 0)) == []


def test_a_blob_that_is_cut_off_goes_on_where_it_was(
    loopback: FaultyRegistry, client: Registry
) -> None:
    digest = loopback.put_blob("o/app", DATA)
    loopback.fault("GET", drop_answer(300_000), status(503), drop(), drop_answer(100_000))
    with Registry(
        credentials=lambda _: None, patience=Patience(attempts=5, sleep=lambda _: None)
    ) as client:
        assert b"".join(client.read_blob(repository(loopback), digest, len(DATA))) == DATA
    assert [seen.headers.get("range") for seen in loopback.requests] == [
        None,
        *["bytes=300000-"] * 3,
        "bytes=400000-",
    ]


def test_a_registry_without_ranges_is_read_again(
    loopback: FaultyRegistry, client: Registry
) -> None:
    digest = loopback.put_blob("o/app", DATA)
    loopback.fault("GET", drop_answer(300_000), status(200, DATA))
    assert b"".join(client.read_blob(repository(loopback), digest, len(DATA))) == DATA


def test_a_blob_that_is_always_cut_off_is_given_up(
    loopback: FaultyRegistry, client: Registry
) -> None:
    digest = loopback.put_blob("o/app", DATA)
    loopback.fault("GET", always=drop_answer(10))
    with pytest.raises(RegistryUnavailable, match=r"reading sha256:.*o/app\): .*tried 4 times"):
        list(client.read_blob(repository(loopback), digest, len(DATA)))


def test_a_blob_that_ends_without_notice_goes_on(
    loopback: FaultyRegistry, client: Registry
) -> None:
    def silent(call: Call) -> bool:
        call.send_response(200)
        call.send_header("Connection", "close")
        call.end_headers()
        call.wfile.write(DATA[:1000])
        call.hang_up(reset=False)
        return True

    digest = loopback.put_blob("o/app", DATA)
    loopback.fault("GET", silent)
    assert b"".join(client.read_blob(repository(loopback), digest, len(DATA))) == DATA
    assert loopback.requests[1].headers["range"] == "bytes=1000-"


@pytest.mark.parametrize(
    ("served", "problem"),
    [
        (b"x" + DATA[1:], "arrives with another digest"),
        (DATA[:-1], "has 1048575 bytes, not 1048576"),
        (DATA + b"x", "has more than 1048576 bytes"),
    ],
)
def test_a_blob_that_is_another_is_corrupt(
    loopback: FaultyRegistry, client: Registry, served: bytes, problem: str
) -> None:
    digest = digest_of(DATA)
    loopback.content["o/app"].blobs[digest] = served
    with pytest.raises(RegistryCorrupt, match=f"{digest} {problem}"):
        list(client.read_blob(repository(loopback), digest, len(DATA)))


def test_a_blob_may_be_kept_elsewhere(guarded: FaultyRegistry, client: Registry) -> None:
    digest = guarded.put_blob("o/app", DATA)
    with FaultyRegistry() as storage:
        storage.put_blob("o/app", DATA)
        location = f"{storage.url}/v2/o/app/blobs/{digest}?sig=s3cret"
        away = status(307, Location=location)
        client.has_blob(repository(guarded), digest)
        guarded.fault("GET", away, away, path="/blobs/")
        storage.fault("GET", drop_answer(300_000))
        assert b"".join(client.read_blob(repository(guarded), digest, len(DATA))) == DATA
        assert [seen.authorization for seen in storage.requests] == ["", ""]
        assert storage.requests[1].headers["range"] == "bytes=300000-"


def test_a_storage_that_refuses_is_named_without_its_signature(
    guarded: FaultyRegistry, client: Registry
) -> None:
    digest = guarded.put_blob("o/app", DATA)
    with FaultyRegistry() as storage:
        storage.fault("GET", always=status(401, WWW_Authenticate=f'Basic realm="{storage.url}"'))
        location = f"{storage.url}/blob?sig=s3cret"
        client.has_blob(repository(guarded), digest)
        guarded.fault("GET", always=status(307, Location=location), path="/blobs/")
        with pytest.raises(AccessDenied, match=rf"{storage.host}, where {guarded.host} keeps") as e:
            list(client.read_blob(repository(guarded), digest, len(DATA)))
        assert "s3cret" not in str(e.value)
        assert [seen.authorization for seen in storage.requests] == [""]


# Manifests.


@pytest.mark.parametrize(
    "media_type", [f for format in Format for f in (format.manifest_type, format.index_type)]
)
def test_a_manifest_comes_back_as_it_was_put(
    loopback: FaultyRegistry, client: Registry, media_type: str
) -> None:
    document = document_of(MANIFEST.data, media_type)
    digest = document.descriptor.digest
    client.put_manifest(tagged(loopback), document)
    client.put_manifest(Reference(repository(loopback), digest=digest), document)
    assert client.get_manifest(tagged(loopback)) == document
    assert client.get_manifest(Reference(repository(loopback), "gone", digest)) == document
    assert client.head_manifest(tagged(loopback)) == document.descriptor
    assert loopback.said() == [
        "PUT /v2/o/app/manifests/1",
        f"PUT /v2/o/app/manifests/{digest}",
        "GET /v2/o/app/manifests/1",
        f"GET /v2/o/app/manifests/{digest}",
        "HEAD /v2/o/app/manifests/1",
    ]
    assert loopback.requests[0].headers["content-type"] == media_type
    for seen in loopback.requests[2:]:
        assert set(seen.headers["accept"].split(", ")) == {
            f for format in Format for f in (format.manifest_type, format.index_type)
        }


def test_a_manifest_that_is_not_there_is_named(loopback: FaultyRegistry, client: Registry) -> None:
    assert client.head_manifest(tagged(loopback)) is None
    with pytest.raises(NotInRegistry, match=rf"reading {loopback.host}/o/app:1: HTTP 404"):
        client.get_manifest(tagged(loopback))


@pytest.mark.parametrize("missing", ["Docker_Content_Digest", "Content_Length", "Content_Type"])
def test_what_a_head_does_not_say_is_read(
    loopback: FaultyRegistry, client: Registry, missing: str
) -> None:
    loopback.put_manifest("o/app", MANIFEST.data, OCI.manifest_type, "1")
    loopback.fault("HEAD", altered(**{missing: ""}))
    assert client.head_manifest(tagged(loopback)) == MANIFEST.descriptor
    assert loopback.methods() == ["HEAD", "GET"]


def test_a_manifest_of_a_static_server_says_itself_what_it_is(
    loopback: FaultyRegistry, client: Registry
) -> None:
    data = json.dumps({"mediaType": OCI.index_type}).encode()
    loopback.put_manifest("o/app", data, "application/json; charset=utf-8", "1")
    assert client.get_manifest(tagged(loopback)).descriptor.media_type == OCI.index_type


@pytest.mark.parametrize("fault", [altered(Docker_Content_Digest=digest_of(b"other")), None])
@pytest.mark.parametrize("by_digest", [False, True])
def test_a_manifest_that_is_another_is_corrupt(
    loopback: FaultyRegistry, client: Registry, fault: Fault | None, by_digest: bool
) -> None:
    digest = loopback.put_manifest("o/app", MANIFEST.data, OCI.manifest_type, "1")
    reference = Reference(repository(loopback), digest=digest) if by_digest else tagged(loopback)
    if fault is None:
        loopback.content["o/app"].manifests[digest] = (OCI.manifest_type, b'{"schemaVersion": 1}')
    else:
        loopback.fault("GET", fault)
    with pytest.raises(RegistryCorrupt, match="arrives with other bytes"):
        client.get_manifest(reference)


def test_a_manifest_that_is_not_what_was_asked_for_is_corrupt(
    loopback: FaultyRegistry, client: Registry
) -> None:
    loopback.put_manifest("o/app", MANIFEST.data, OCI.manifest_type)
    digest = digest_of(b"other")
    loopback.content["o/app"].manifests[digest] = (OCI.manifest_type, MANIFEST.data)
    loopback.fault("GET", altered(Docker_Content_Digest=""))
    with pytest.raises(RegistryCorrupt, match=f"arrives with other bytes: {digest} has"):
        client.get_manifest(Reference(repository(loopback), digest=digest))


def test_a_head_that_answers_for_another_digest_is_corrupt(
    loopback: FaultyRegistry, client: Registry
) -> None:
    digest = loopback.put_manifest("o/app", MANIFEST.data, OCI.manifest_type)
    loopback.fault("HEAD", altered(Docker_Content_Digest=digest_of(b"other")))
    with pytest.raises(RegistryCorrupt, match=f"{digest} is answered for with sha256:"):
        client.head_manifest(Reference(repository(loopback), digest=digest))


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_not_json_is_refused(
    loopback: FaultyRegistry, client: Registry, body: bytes
) -> None:
    loopback.put_manifest("o/app", body, "text/html", "1")
    with pytest.raises(RegistryRefused, match="something that is not JSON"):
        client.get_manifest(tagged(loopback))


def test_a_manifest_of_another_kind_is_refused(loopback: FaultyRegistry, client: Registry) -> None:
    old = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    loopback.put_manifest("o/app", b"{}", old, "1")
    with pytest.raises(RegistryRefused, match=r"not read here: application/vnd\.docker.*v1"):
        client.get_manifest(tagged(loopback))
    assert client.get_manifest(tagged(loopback), accept=[old]).data == b"{}"


def test_a_manifest_without_end_is_not_read_to_it(
    loopback: FaultyRegistry, client: Registry
) -> None:
    data = b'{"a": "' + b"x" * MANIFEST_BYTES + b'"}'
    loopback.put_manifest("o/app", data, OCI.manifest_type, "1")
    with pytest.raises(TooLargeForRegistry, match="larger than 4194304 bytes"):
        client.get_manifest(tagged(loopback))


def test_too_large_a_manifest_is_not_sent(loopback: FaultyRegistry, client: Registry) -> None:
    data = b"x" * (MANIFEST_BYTES + 1)
    document = Document(data, Descriptor(OCI.manifest_type, digest_of(data), len(data)))
    with pytest.raises(TooLargeForRegistry, match="o/app:1 has 4194305 bytes"):
        client.put_manifest(tagged(loopback), document)
    assert loopback.requests == []


@pytest.mark.parametrize(
    ("fault", "error_type", "words"),
    [
        (altered(Docker_Content_Digest=digest_of(b"x")), RegistryCorrupt, "taken in with another"),
        (error(400, "DIGEST_INVALID"), RegistryCorrupt, "received other bytes"),
        (error(400, "MANIFEST_INVALID", "no layers"), RegistryRefused, "MANIFEST_INVALID: no lay"),
        (error(404, "MANIFEST_BLOB_UNKNOWN"), NotInRegistry, "MANIFEST_BLOB_UNKNOWN"),
        (error(403, "DENIED", "immutable"), AccessDenied, "denies putting .*o/app:1: .*immutable"),
        (status(413), TooLargeForRegistry, "too large"),
        (status(405), RegistryRefused, "HTTP 405 Method Not Allowed"),
    ],
)
def test_a_manifest_that_is_not_taken_is_an_error(
    loopback: FaultyRegistry,
    client: Registry,
    fault: Fault,
    error_type: type[Exception],
    words: str,
) -> None:
    loopback.fault("PUT", fault)
    with pytest.raises(error_type, match=words):
        client.put_manifest(tagged(loopback), MANIFEST)


@pytest.mark.parametrize("fault", [status(502), drop(), drop_answer()])
def test_a_manifest_is_put_again_after_a_failure(
    loopback: FaultyRegistry, client: Registry, fault: Fault
) -> None:
    loopback.fault("PUT", fault)
    client.put_manifest(tagged(loopback), MANIFEST)
    assert loopback.methods() == ["PUT", "PUT"]
    assert loopback.content["o/app"].tags == {"1": MANIFEST.descriptor.digest}


def test_a_manifest_is_put_again_with_a_new_token(
    guarded: FaultyRegistry, client: Registry
) -> None:
    guarded.fault("PUT", then(guarded.expire_tokens), path="manifests")
    client.put_manifest(tagged(guarded), MANIFEST)
    assert guarded.content["o/app"].tags == {"1": MANIFEST.descriptor.digest}


# Tags.


def test_all_pages_of_tags_are_read(loopback: FaultyRegistry, client: Registry) -> None:
    names = [f"v{number:03}" for number in range(25)]
    loopback.put_manifest("o/app", MANIFEST.data, OCI.manifest_type, *names)
    loopback.tag_page = 10
    assert client.tags(repository(loopback)) == tuple(names)
    assert loopback.said() == [
        "GET /v2/o/app/tags/list",
        "GET /v2/o/app/tags/list?last=v009&n=10",
        "GET /v2/o/app/tags/list?last=v019&n=10",
    ]


@pytest.mark.parametrize("body", ['{"tags": null}', '{"name": "o/app"}', '{"tags": []}'])
def test_a_repository_without_tags_has_none(
    loopback: FaultyRegistry, client: Registry, body: str
) -> None:
    loopback.fault("GET", status(200, body))
    assert client.tags(repository(loopback)) == ()


def test_a_repository_that_does_not_exist_has_no_tags(
    loopback: FaultyRegistry, client: Registry
) -> None:
    assert client.tags(repository(loopback)) == ()


@pytest.mark.parametrize("body", ["<html>", '{"tags": 1}', '{"tags": [1]}', "[]"])
def test_tags_that_are_none_are_refused(
    loopback: FaultyRegistry, client: Registry, body: str
) -> None:
    loopback.fault("GET", status(200, body))
    with pytest.raises(RegistryRefused, match=rf"listing the tags of {loopback.host}/o/app"):
        client.tags(repository(loopback))


@pytest.mark.parametrize(
    ("link", "asked"),
    [
        (lambda _: '</v2/o/app/tags/list>; rel="next"', 1),
        (lambda count: f"</v2/o/app/tags/list?last={count}>;rel=next", 200),
    ],
)
def test_pages_of_tags_come_to_an_end(
    loopback: FaultyRegistry, client: Registry, link: Callable[[int], str], asked: int
) -> None:
    def more(call: Call) -> bool:
        return bool(status(200, '{"tags": ["a"]}', Link=link(len(loopback.requests)))(call))

    loopback.fault("GET", always=more)
    with pytest.raises(RegistryRefused, match="does not come to an end"):
        client.tags(repository(loopback))
    assert len(loopback.requests) == asked


def test_the_next_page_of_tags_may_not_be_anywhere(
    loopback: FaultyRegistry, client: Registry
) -> None:
    loopback.fault("GET", status(200, '{"tags": []}', Link='<file:///etc/passwd>; rel="next"'))
    with pytest.raises(RedirectUnsafe, match="cannot be used"):
        client.tags(repository(loopback))


def test_one_client_speaks_to_several_registries(
    loopback: FaultyRegistry, guarded: FaultyRegistry
) -> None:
    asked: list[Repository] = []

    def credentials(of: Repository) -> Credentials:
        asked.append(of)
        return CREDENTIALS

    with Registry(credentials=credentials, patience=PATIENCE) as client:
        client.tags(repository(loopback))
        client.tags(repository(guarded))
        client.tags(repository(guarded))
    assert asked == [repository(guarded)]
    assert loopback.requests[0].authorization == ""


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_token_service_that_fails_and_repeats_a_password_is_not_quoted(method: str) -> None:
    with FaultyRegistry(users={"me": "pass word"}) as busy:
        if method == "GET":
            busy.fault("POST", path="/token", always=status(404))
        echo = error(503, "BUSY", "no pass+word, no pass word")
        busy.fault(method, path="/token", always=echo)
        with (
            Registry(credentials=lambda _: CREDENTIALS, patience=PATIENCE) as registry,
            pytest.raises(RegistryUnavailable, match=r"no \*\*\*, no \*\*\*") as caught,
        ):
            registry.has_blob(repository(busy), digest_of(DATA))
        assert "pass" not in str(caught.value).replace("password", "")
