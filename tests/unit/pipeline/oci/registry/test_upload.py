"""Blobs on their way into a registry, and every way in which it makes that hard."""

from __future__ import annotations

import hashlib
import io
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import pytest

from pipeline.errors import (
    AccessDenied,
    CredentialsRejected,
    ImageInvalid,
    NotInRegistry,
    RedirectUnsafe,
    RegistryCorrupt,
    RegistryRefused,
    RegistryUnavailable,
    TooLargeForRegistry,
)
from pipeline.oci.registry.client import Outcome, Patience, Registry, Uploaded
from pipeline.oci.registry.credentials import Credentials, Secret
from pipeline.oci.registry.reference import Repository
from pipeline.oci.registry.upload import CHUNK_BYTES, with_digest
from tests.unit.pipeline.oci.registry.faulty_registry import (
    Call,
    FaultyRegistry,
    altered,
    drop,
    drop_answer,
    error,
    kept,
    status,
    then,
)

SMALL = b"a layer" * 1000
LARGE = os.urandom(2 * CHUNK_BYTES + 12_345)
"""Three chunks."""
PASSING = (408, 429, 499, 500, 502, 503, 504, 522)


class Sleeper:
    """Stands in for waiting, and knows how long it would have been."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def __call__(self, wait_s: float) -> None:
        self.waits.append(wait_s)


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as loopback:
        yield loopback


class Push:
    """Uploads, and what they reported."""

    def __init__(self, loopback: FaultyRegistry, *, password: str = "pass word") -> None:
        self.loopback = loopback
        self.sleeper = Sleeper()
        self.progress: list[int] = []
        self.password = password
        self.patience = Patience(attempts=4, read_timeout_s=5, sleep=self.sleeper)

    def __call__(
        self,
        data: bytes = SMALL,
        *,
        name: str = "o/app",
        opened: Callable[[], BinaryIO] | None = None,
        sources: tuple[str, ...] = (),
    ) -> Uploaded:
        credentials = Credentials("me", Secret(self.password), None, origin="a test")
        with Registry(credentials=lambda _: credentials, patience=self.patience) as client:
            return client.upload_blob(
                Repository(self.loopback.host, name),
                digest_of(data),
                len(data),
                opened or (lambda: io.BytesIO(data)),
                on_progress=self.progress.append,
                sources=sources,
            )


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def stored(loopback: FaultyRegistry, name: str = "o/app") -> list[bytes]:
    return list(loopback.content[name].blobs.values())


# The way it should go.


def test_a_blob_is_streamed_whole_and_then_named(registry: FaultyRegistry) -> None:
    push = Push(registry)
    assert push(LARGE) == Uploaded(Outcome.SENT, len(LARGE))
    digest = digest_of(LARGE)
    assert registry.said() == [
        f"HEAD /v2/o/app/blobs/{digest}",
        "POST /v2/o/app/blobs/uploads/",
        "PATCH /v2/o/app/blobs/uploads/<1>",
        f"PUT /v2/o/app/blobs/uploads/<1>?digest={digest.replace(':', '%3A')}",
        f"HEAD /v2/o/app/blobs/{digest}",
    ]
    (patch,) = registry.seen("PATCH")
    assert patch.headers["content-length"] == str(len(LARGE))
    assert patch.headers["content-type"] == "application/octet-stream"
    assert patch.headers["user-agent"] == "accelerapp"
    assert {"content-range", "transfer-encoding"}.isdisjoint(patch.headers)
    assert stored(registry) == [LARGE]
    assert sum(push.progress) == len(LARGE)
    assert min(push.progress) > 0
    assert len({seen.port for seen in registry.requests}) == 1


def test_a_blob_that_is_there_costs_one_request(registry: FaultyRegistry) -> None:
    registry.put_blob("o/app", SMALL)
    push = Push(registry)
    assert push() == Uploaded(Outcome.EXISTED, 0)
    assert registry.methods() == ["HEAD"]
    assert push.progress == []


def test_a_blob_with_another_size_under_its_digest_is_not_taken_for_it(
    registry: FaultyRegistry,
) -> None:
    registry.content["o/app"].blobs[digest_of(SMALL)] = b"cut"
    with pytest.raises(RegistryCorrupt, match=r"has 3 bytes there, 7000 here"):
        Push(registry)()


def test_an_empty_blob_needs_no_patch(registry: FaultyRegistry) -> None:
    assert Push(registry)(b"") == Uploaded(Outcome.SENT, 0)
    assert registry.methods() == ["HEAD", "POST", "PUT", "HEAD"]


def test_a_blob_of_one_byte_is_not_taken_for_none(registry: FaultyRegistry) -> None:
    assert Push(registry)(b"x") == Uploaded(Outcome.SENT, 1)
    assert stored(registry) == [b"x"]


def test_a_layer_of_any_size_needs_little_memory(registry: FaultyRegistry, tmp_path: Path) -> None:
    path = tmp_path / "layer"
    path.write_bytes(LARGE)

    def discard(call: Call) -> bool:
        # The registry is in this process too; what it kept would be counted.
        while call.receive(64 * 1024):
            pass
        call.answer(507)
        return True

    registry.fault("PATCH", discard)
    digest = digest_of(LARGE)
    tracemalloc.start()
    try:
        with (
            Registry(credentials=lambda _: None) as client,
            pytest.raises(RegistryRefused, match="507"),
        ):
            client.upload_blob(
                Repository(registry.host, "o/app"), digest, len(LARGE), lambda: path.open("rb")
            )
        assert tracemalloc.get_traced_memory()[1] < 3 * 1024 * 1024 < len(LARGE)
    finally:
        tracemalloc.stop()


# Mounts.


def test_a_blob_of_another_repository_is_mounted(guarded: FaultyRegistry) -> None:
    guarded.put_blob("o/base", SMALL)
    assert Push(guarded)(sources=("o/app", "o/other", "o/base")) == Uploaded(Outcome.MOUNTED, 0)
    assert stored(guarded) == [SMALL]
    mounts = [line for line in guarded.said() if "mount=" in line]
    assert [line.rpartition("from=")[2] for line in mounts] == ["o%2Fother", "o%2Fbase"]
    scopes = " ".join(guarded.tokens.values())
    assert "repository:o/base:pull" in scopes
    assert "repository:o/app:pull,push" in scopes


def test_a_session_that_is_opened_in_place_of_a_mount_is_cancelled(
    registry: FaultyRegistry,
) -> None:
    registry.allow_mounts = False
    registry.put_blob("o/base", SMALL)
    assert Push(registry)(sources=("o/base",)).outcome is Outcome.SENT
    assert registry.methods() == ["HEAD", "POST", "DELETE", "POST", "PATCH", "PUT", "HEAD"]
    assert registry.sessions == {}


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 413, 500, 503])
def test_a_mount_that_is_refused_is_a_reason_to_upload(registry: FaultyRegistry, code: int) -> None:
    registry.put_blob("o/base", SMALL)
    registry.fault("POST", status(code), path="mount=")
    push = Push(registry)
    assert push(sources=("o/base",)).outcome is Outcome.SENT
    assert registry.methods() == ["HEAD", "POST", "POST", "PATCH", "PUT", "HEAD"]
    assert push.sleeper.waits == []


def test_mount_blob_says_whether_it_did(registry: FaultyRegistry) -> None:
    digest = registry.put_blob("o/base", SMALL)
    repository = Repository(registry.host, "o/app")
    with Registry(credentials=lambda _: None) as client:
        assert client.mount_blob(repository, digest, source="o/base")
        assert client.has_blob(repository, digest) == len(SMALL)
        assert not client.mount_blob(repository, digest_of(b"other"), source="o/base")
    assert registry.sessions == {}


# Tokens that expire, rights that are missing.


def test_a_token_that_expires_before_the_blob_is_sent_is_renewed(guarded: FaultyRegistry) -> None:
    guarded.fault("PATCH", then(guarded.expire_tokens))
    push = Push(guarded)
    assert push(LARGE).outcome is Outcome.SENT
    assert guarded.methods() == [
        *("HEAD", "HEAD"),
        *("POST", "PATCH"),
        *("POST", "PATCH", "PUT", "HEAD"),
    ]
    first, second = guarded.seen("PATCH")
    assert first.authorization != second.authorization
    assert first.path != second.path  # Who knows what the first session holds.
    assert stored(guarded) == [LARGE]
    assert sum(push.progress) == len(LARGE)
    assert push.sleeper.waits == []


def test_a_token_that_expires_while_the_blob_is_sent_is_renewed(guarded: FaultyRegistry) -> None:
    def expire_later(call: Call) -> bool:
        call.receive(CHUNK_BYTES)
        guarded.expire_tokens()
        guarded.serve(call)
        return True

    guarded.fault("PATCH", expire_later)
    push = Push(guarded)
    push(LARGE)
    assert guarded.methods()[2:] == ["POST", "PATCH", "POST", "PATCH", "PUT", "HEAD"]
    assert stored(guarded) == [LARGE]
    assert sum(push.progress) == len(LARGE)
    assert min(push.progress) < 0


def test_a_token_that_expires_before_the_blob_is_named_is_renewed(
    guarded: FaultyRegistry,
) -> None:
    guarded.fault("PUT", then(guarded.expire_tokens))
    Push(guarded)()
    assert guarded.methods() == ["HEAD", "HEAD", "POST", "PATCH", "PUT", "PUT", "HEAD"]
    assert stored(guarded) == [SMALL]


def test_a_token_that_expires_between_chunks_is_renewed(guarded: FaultyRegistry) -> None:
    guarded.fault("PATCH", status(413), lambda _: None, then(guarded.expire_tokens))
    Push(guarded)(LARGE)
    assert guarded.methods()[2:] == [
        *("POST", "PATCH"),
        *("POST", "PATCH", "PATCH", "GET", "PATCH", "PATCH", "PUT", "HEAD"),
    ]
    assert stored(guarded) == [LARGE]


def test_tokens_that_expire_at_once_are_not_renewed_for_ever(guarded: FaultyRegistry) -> None:
    guarded.fault("PATCH", always=then(guarded.expire_tokens))
    with pytest.raises((CredentialsRejected, RegistryUnavailable)):
        Push(guarded)()
    assert len(guarded.requests) < 30


def test_a_repository_of_others_is_named_with_what_was_tried(guarded: FaultyRegistry) -> None:
    with pytest.raises(AccessDenied) as caught:
        Push(guarded)(name="o/theirs")
    assert f"{guarded.host}/o/theirs" in str(caught.value)
    assert "looking for sha256:" in str(caught.value)
    assert guarded.methods() == ["HEAD", "HEAD"]


def test_a_push_that_is_denied_says_what_the_registry_says(registry: FaultyRegistry) -> None:
    registry.fault("POST", error(403, "DENIED", "read only\x1b[31m\nsee https://x.test/?token=abc"))
    with pytest.raises(AccessDenied) as caught:
        Push(registry)()
    assert f"denies uploading {digest_of(SMALL)[:19]} to {registry.host}/o/app" in str(caught.value)
    assert "HTTP 403 Forbidden: DENIED: read only [31m see https://x.test/;" in str(caught.value)


def test_a_wrong_password_is_an_error_that_does_not_show_it(guarded: FaultyRegistry) -> None:
    with pytest.raises(CredentialsRejected) as caught:
        Push(guarded, password="my pass phrase")()
    assert "a test" in str(caught.value)
    assert "my pass phrase" not in str(caught.value)


def test_a_repository_that_has_to_be_created_first_is_an_error(registry: FaultyRegistry) -> None:
    registry.fault("POST", error(404, "NAME_UNKNOWN", "repository name not known"))
    with pytest.raises(NotInRegistry, match=r"o/app: HTTP 404 .*NAME_UNKNOWN.*created before"):
        Push(registry)()


# Too large.


@pytest.mark.parametrize("early", [False, True])
def test_what_is_too_large_goes_in_chunks(registry: FaultyRegistry, early: bool) -> None:
    registry.fault("PATCH", status(413, early=early))
    push = Push(registry)
    uploaded = push(LARGE)
    assert registry.methods() == [
        *("HEAD", "POST", "PATCH"),
        *("POST", "PATCH", "PATCH", "PATCH", "PUT", "HEAD"),
    ]
    assert [patch.headers.get("content-range") for patch in registry.seen("PATCH")] == [
        None,
        f"0-{CHUNK_BYTES - 1}",
        f"{CHUNK_BYTES}-{2 * CHUNK_BYTES - 1}",
        f"{2 * CHUNK_BYTES}-{len(LARGE) - 1}",
    ]
    assert stored(registry) == [LARGE]
    assert sum(push.progress) == len(LARGE) <= uploaded.bytes_sent


def test_a_registry_may_ask_for_larger_chunks(registry: FaultyRegistry) -> None:
    registry.chunk_min_length = CHUNK_BYTES + 1000
    registry.fault("PATCH", status(413))
    Push(registry)(LARGE)
    assert [patch.headers["content-length"] for patch in registry.seen("PATCH")[1:]] == [
        str(CHUNK_BYTES + 1000),
        str(CHUNK_BYTES + 1000),
        str(12_345 - 2000),
    ]
    assert stored(registry) == [LARGE]


def test_chunks_that_are_too_large_are_an_error(registry: FaultyRegistry) -> None:
    registry.fault("PATCH", always=status(413, early=True))
    with pytest.raises(TooLargeForRegistry, match=r"uploading sha256:.* HTTP 413"):
        Push(registry)(LARGE)
    assert registry.methods() == ["HEAD", "POST", "PATCH", "POST", "PATCH"]


def test_what_fits_in_one_chunk_is_not_sent_twice_to_be_too_large(
    registry: FaultyRegistry,
) -> None:
    registry.fault("PATCH", always=status(413))
    with pytest.raises(TooLargeForRegistry):
        Push(registry)(SMALL)
    assert registry.methods() == ["HEAD", "POST", "PATCH"]


def test_after_416_the_registry_is_asked_where_it_is(registry: FaultyRegistry) -> None:
    push = Push(registry)
    registry.fault("PATCH", status(413), lambda _: None, status(416))
    push(LARGE)
    assert registry.methods()[3:] == [
        *("POST", "PATCH", "PATCH", "GET", "PATCH", "PATCH", "PUT", "HEAD")
    ]
    assert stored(registry) == [LARGE]
    assert sum(push.progress) == len(LARGE)


def test_a_chunk_that_is_cut_off_goes_on_where_the_registry_is(registry: FaultyRegistry) -> None:
    def half(call: Call) -> bool:
        (session,) = list(registry.sessions)[-1:]
        registry.sessions[session] += call.receive(1_000_000)
        call.hang_up()
        return True

    registry.fault("PATCH", status(413), lambda _: None, half)
    push = Push(registry)
    push(LARGE)
    ranges = [patch.headers.get("content-range", "") for patch in registry.seen("PATCH")]
    assert ranges[3].startswith(f"{CHUNK_BYTES + 1_000_000}-")
    assert stored(registry) == [LARGE]
    assert sum(push.progress) == len(LARGE)
    assert CHUNK_BYTES + 1_000_000 in accumulate(push.progress)


def test_only_failures_without_progress_add_up(registry: FaultyRegistry) -> None:
    thrice = [status(503)] * 3
    registry.fault("PATCH", status(413), *thrice, kept(CHUNK_BYTES), *thrice, kept(2 * CHUNK_BYTES))
    Push(registry)(LARGE)
    assert stored(registry) == [LARGE]


def test_a_chunk_that_is_only_half_kept_is_completed(registry: FaultyRegistry) -> None:
    registry.fault("PATCH", status(413), kept(1000))
    push = Push(registry)
    push(LARGE)
    ranges = [patch.headers.get("content-range", "") for patch in registry.seen("PATCH")]
    assert ranges[2].startswith("1000-")
    assert stored(registry) == [LARGE]
    assert sum(push.progress) == len(LARGE)


def test_a_registry_that_never_gets_anywhere_is_given_up(registry: FaultyRegistry) -> None:
    registry.fault("PATCH", status(413), always=status(416))
    with pytest.raises(RegistryUnavailable, match=r"uploading .*HTTP 416.*tried 4 times"):
        Push(registry)(LARGE)


# Failures that pass, and those that do not.


@pytest.mark.parametrize("code", PASSING)
@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH", "PUT"])
def test_a_failure_that_passes_is_waited_for(
    registry: FaultyRegistry, method: str, code: int
) -> None:
    registry.fault(method, status(code))
    push = Push(registry)
    assert push().outcome is Outcome.SENT
    again = ["POST", "PATCH"] if method == "PATCH" else [method]
    expected = ["HEAD", "POST", "PATCH", "PUT", "HEAD"]
    expected[expected.index(method) + 1 : expected.index(method) + 1] = again
    assert registry.methods() == expected
    assert stored(registry) == [SMALL]
    assert sum(push.progress) == len(SMALL)
    assert len(push.sleeper.waits) == 1


@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH", "PUT"])
def test_a_failure_that_does_not_pass_is_named_and_counted(
    registry: FaultyRegistry, method: str
) -> None:
    registry.fault(method, always=status(503, "drowning", Content_Type="text/plain"))
    push = Push(registry)
    said = r"HTTP 503 Service Unavailable(: drowning)?, tried 4 times"
    with pytest.raises(RegistryUnavailable, match=rf"(looking|uploading) .*o/app\): {said}"):
        push()
    assert registry.methods().count(method) == 4
    waits = push.sleeper.waits
    assert len(waits) == 3
    assert 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1 <= waits[2] <= 2


@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH", "PUT"])
def test_a_connection_that_breaks_is_made_again(registry: FaultyRegistry, method: str) -> None:
    registry.fault(method, drop())
    assert Push(registry)().outcome is Outcome.SENT
    assert stored(registry) == [SMALL]


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_breaks_in_the_middle_starts_over(
    registry: FaultyRegistry, reset: bool
) -> None:
    registry.fault("PATCH", drop(after_bytes=CHUNK_BYTES, reset=reset))
    push = Push(registry)
    uploaded = push(LARGE)
    assert registry.methods() == ["HEAD", "POST", "PATCH", "POST", "PATCH", "PUT", "HEAD"]
    assert stored(registry) == [LARGE]
    assert sum(push.progress) == len(LARGE) < uploaded.bytes_sent
    assert 0 in accumulate(push.progress)


def test_connections_that_always_break_are_given_up(registry: FaultyRegistry) -> None:
    registry.fault("PATCH", always=drop(after_bytes=1000))
    with pytest.raises(RegistryUnavailable, match=r"uploading .* tried 4 times"):
        Push(registry)(LARGE)
    assert registry.methods().count("PATCH") == 4


def test_a_blob_whose_last_answer_was_lost_is_not_sent_again(registry: FaultyRegistry) -> None:
    registry.fault("PUT", drop_answer())
    assert Push(registry)(LARGE) == Uploaded(Outcome.SENT, len(LARGE))
    assert registry.methods() == ["HEAD", "POST", "PATCH", "PUT", "PUT", "HEAD"]


def test_a_session_that_is_forgotten_is_begun_again(registry: FaultyRegistry) -> None:
    registry.fault("PATCH", then(registry.sessions.clear))
    Push(registry)()
    assert registry.methods() == ["HEAD", "POST", "PATCH", "POST", "PATCH", "PUT", "HEAD"]
    assert stored(registry) == [SMALL]


# Bytes that are not what they should be.


def test_a_registry_that_keeps_less_than_it_was_sent_is_noticed(registry: FaultyRegistry) -> None:
    registry.fault("PATCH", kept(100))
    push = Push(registry)
    push()
    assert registry.methods() == ["HEAD", "POST", "PATCH", "POST", "PATCH", "PUT", "HEAD"]
    assert sum(push.progress) == len(SMALL)


def test_a_registry_that_always_keeps_less_is_given_up(registry: FaultyRegistry) -> None:
    registry.fault("PATCH", always=kept(100))
    with pytest.raises(RegistryUnavailable, match=r"kept 100 of 7000 bytes, tried 4 times"):
        Push(registry)()


def test_a_registry_that_commits_less_than_it_was_sent_is_noticed(
    registry: FaultyRegistry,
) -> None:
    def cut(call: Call) -> bool:
        registry.content["o/app"].blobs[digest_of(SMALL)] = SMALL[:100]
        return bool(status(201)(call))

    registry.fault("PUT", cut)
    with pytest.raises(RegistryCorrupt, match=r"taken in with 100 bytes; 7000 were sent"):
        Push(registry)()


def test_a_digest_that_the_registry_does_not_find_is_its_corruption(
    registry: FaultyRegistry,
) -> None:
    registry.fault("PUT", error(400, "DIGEST_INVALID", "digest did not match"))
    with pytest.raises(RegistryCorrupt, match=r"uploading .*o/app: HTTP 400 .*DIGEST_INVALID"):
        Push(registry)()


def test_a_blob_that_is_taken_in_under_another_digest_is_corrupt(
    registry: FaultyRegistry,
) -> None:
    registry.fault("PUT", altered(Docker_Content_Digest=digest_of(b"other")))
    with pytest.raises(RegistryCorrupt, match=rf"{digest_of(SMALL)} was taken in with another"):
        Push(registry)()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (SMALL[:-1], "ends after 6999 of 7000 bytes"),
        (SMALL + b"x", "is longer than 7000 bytes"),
        (b"x" + SMALL[1:], "has another digest"),
    ],
)
def test_a_file_that_is_not_the_blob_is_not_passed_off_as_it(
    registry: FaultyRegistry, content: bytes, problem: str
) -> None:
    with pytest.raises(ImageInvalid, match=problem):
        Push(registry)(opened=lambda: io.BytesIO(content))
    assert "PUT" not in registry.methods()


def test_a_file_that_is_gone_is_named(registry: FaultyRegistry, tmp_path: Path) -> None:
    with pytest.raises(ImageInvalid, match=r"sha256:.* cannot be read: No such file"):
        Push(registry)(opened=(tmp_path / "gone").open)  # type: ignore[arg-type]


def test_what_progress_raises_ends_the_upload(registry: FaultyRegistry) -> None:
    class Stop(Exception):
        pass

    def stop(_change: int) -> None:
        raise Stop

    with Registry(credentials=lambda _: None) as client, pytest.raises(Stop):
        client.upload_blob(
            Repository(registry.host, "o/app"),
            digest_of(LARGE),
            len(LARGE),
            lambda: io.BytesIO(LARGE),
            on_progress=stop,
        )
    assert "PUT" not in registry.methods()


# Where an upload goes on.


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda registry, path: path, id="relative"),
        pytest.param(lambda registry, path: registry.url + path, id="absolute"),
        pytest.param(lambda registry, path: path + "?_state=a%2Bb==&x", id="with a query"),
        pytest.param(lambda registry, path: path + "?digest=old&_state=s%3D#part", id="with more"),
        pytest.param(lambda registry, path: f"//{registry.host}{path}", id="without a scheme"),
    ],
)
def test_a_location_is_followed_as_it_is_written(
    registry: FaultyRegistry, form: Callable[[FaultyRegistry, str], str]
) -> None:
    registry.location = lambda path: form(registry, path)
    assert Push(registry)().outcome is Outcome.SENT
    written = form(registry, "/v2/o/app/blobs/uploads/<1>").partition("#")[0].partition("?")[2]
    put = registry.said()[3]
    query = put.partition("?")[2]
    digest = digest_of(SMALL).replace(":", "%3A")
    kept_query = written.replace("digest=old&", "")
    assert query == (f"{kept_query}&" if kept_query else "") + f"digest={digest}"


def test_the_digest_is_added_to_what_a_query_holds() -> None:
    add = with_digest("https://r.test/u?_state=%7E%3d==&b", "sha256:ab")
    assert add == "https://r.test/u?_state=%7E%3d==&b&digest=sha256%3Aab"


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_registry_that_does_not_say_where_to_go_on_is_refused(
    registry: FaultyRegistry, method: str
) -> None:
    registry.fault(method, altered(Location=""))
    with pytest.raises(RegistryRefused, match=r"does not say where to go on \(uploading"):
        Push(registry)()


def test_an_upload_may_go_on_at_another_port_without_the_credentials(
    guarded: FaultyRegistry,
) -> None:
    with FaultyRegistry() as storage:
        storage.sessions["session-9"] = bytearray()
        storage.content["o/app"].blobs.clear()
        elsewhere = f"{storage.url}/v2/o/app/blobs/uploads/session-9?sig=s3cret"
        guarded.location = lambda _path: elsewhere
        storage.location = lambda _path: elsewhere
        assert Push(guarded)().outcome is Outcome.SENT
        assert storage.methods() == ["PATCH", "PUT"]
        assert [seen.authorization for seen in storage.requests] == ["", ""]
        assert stored(storage) == [SMALL]


def test_a_storage_that_asks_for_credentials_gets_none(guarded: FaultyRegistry) -> None:
    with FaultyRegistry(users={"me": "pass word"}) as storage:
        guarded.location = lambda path: storage.url + path
        with pytest.raises(AccessDenied, match=rf"{storage.host}, where {guarded.host} keeps"):
            Push(guarded)()
        assert [seen.authorization for seen in storage.requests] == [""]


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/upload",
        "http://10.1.2.3/upload?sig=s3cret",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:{port}/upload",
        "http://[::1/upload",
        "http://[::ffff:10.0.0.1]/upload",
        "http://2130706434:{port}/upload",
        "file:///etc/passwd",
        "ftp://127.0.0.1/upload",
        "http://me:pw@127.0.0.1:{port}/upload",
    ],
)
def test_an_upload_does_not_go_to_private_addresses(
    registry: FaultyRegistry, location: str
) -> None:
    port = registry.host.rpartition(":")[2]
    registry.location = lambda _path: location.format(port=port)
    with pytest.raises(RedirectUnsafe) as caught:
        Push(registry)()
    assert "nothing was sent there" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "pw" not in str(caught.value)
    assert registry.methods() == ["HEAD", "POST"]


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirected_patch_is_sent_there_whole(registry: FaultyRegistry, code: int) -> None:
    with FaultyRegistry() as storage:
        storage.sessions["session-9"] = bytearray()
        target = f"{storage.url}/v2/o/app/blobs/uploads/session-9"
        registry.fault("PATCH", status(code, Location=target))
        Push(registry)()
        assert storage.methods() == ["PATCH", "PUT"]
        assert stored(storage) == [SMALL]


def test_a_patch_that_is_redirected_to_a_private_address_is_not_sent_there(
    registry: FaultyRegistry,
) -> None:
    registry.fault("PATCH", status(307, Location="http://127.0.0.3:1/upload"))
    with pytest.raises(RedirectUnsafe, match=r"private address, http://127\.0\.0\.3:1/upload"):
        Push(registry)()


def test_a_registry_is_not_waited_for_longer_than_the_limit(registry: FaultyRegistry) -> None:
    registry.fault("POST", status(429, Retry_After="7"))
    push = Push(registry)
    push.patience = replace(push.patience, retry_after_limit_s=5)
    push()
    assert push.sleeper.waits == [5]
