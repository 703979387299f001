"""`invoke push` and a registry that misbehaves: what is said, and what the registry has then.

The registry is Debian's; `FaultProxy` in front of it does the harm.  Images are small, made
here; each push is a process of its own, as a user's is.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from pipeline.entries import Entry
from pipeline.oci.image import Configuration, Format, image_documents
from pipeline.oci.layout import NamedImage, open_layout, write_layout
from pipeline.platforms import Platform
from tests.integration.building import ROOT, Checkout, assert_refused
from tests.integration.registry import (
    PASSWORD,
    USERNAME,
    Answer,
    Fault,
    FaultProxy,
    LocalRegistry,
    TokenServer,
    basic,
    free_port,
)
from tests.unit.pipeline.oci.image_factory import EPOCH_S, Blobs

NAME = "accelerapp"
TAG = "v1"
PUSH_TIMEOUT_S = 120
UPLOADS = r"^/v2/accelerapp/blobs/uploads/"
MANIFESTS = r"^/v2/accelerapp/manifests/"
BEARER = 'Bearer realm="{realm}",service="tests"'
WITH_PASSWORD = {"REGISTRY_USERNAME": USERNAME, "REGISTRY_PASSWORD": PASSWORD}


def write_image(
    folder: Path,
    text: str,
    *,
    layer_bytes: int = 50_000,
    annotation: str = "",
    shared: str = "shared",
) -> Path:
    """Write the layout of an image of two platforms; nothing in its layers compresses."""
    blobs = Blobs(folder.parent / f"blobs-{folder.name}")
    images = []
    for platform in Platform:
        layers = []
        for seed in (shared, f"{text} for {platform}"):
            noise = random.Random(seed).randbytes(layer_bytes)
            layers.append(blobs.layer([Entry("app/noise", content=noise)], seed))
        images.append(
            image_documents(
                platform,
                Configuration(command=["/app/text"]),
                layers,
                created_s=EPOCH_S,
                format=Format.OCI,
                annotations={"text": annotation or text},
            )
        )
    named = NamedImage(NAME, "production", tuple(images), Format.OCI, {"text": annotation or text})
    write_layout(folder, named, blobs)
    return folder


def digest_of(layout: Path) -> str:
    """Return the digest of the image in a layout."""
    return open_layout(layout).top.descriptor.digest


@dataclass(frozen=True)
class Pusher:
    """`invoke push` of somebody who has no credentials but those that are given."""

    home: Path
    environment: Mapping[str, str | None]

    def checkout(self, **variables: str | None) -> Checkout:
        """Return how the command is run."""
        return Checkout(ROOT, self.home / "cache", environment={**self.environment, **variables})

    def arguments(self, address: str, layout: Path, *more: str) -> tuple[str, ...]:
        """Return the command; the tag is `TAG` unless `more` has another."""
        tag = () if "--tag" in more else ("--tag", TAG)
        registry = () if "--registry" in more else ("--registry", address)
        return ("push", "--images", str(layout), *registry, *tag, *more)

    def __call__(
        self, address: str, layout: Path, *more: str, **variables: str | None
    ) -> subprocess.CompletedProcess[str]:
        """Push to its end. No secret is ever printed."""
        done = self.checkout(**variables).invoke(
            *self.arguments(address, layout, *more), timeout_s=PUSH_TIMEOUT_S
        )
        assert PASSWORD not in done.stdout + done.stderr
        return done


@pytest.fixture
def push(tmp_path: Path) -> Pusher:
    """Return `push(address, layout, *more, **variables)`."""
    home = tmp_path / "home"
    (home / "docker").mkdir(parents=True)
    return Pusher(
        home,
        {
            "HOME": str(home),
            "DOCKER_CONFIG": str(home / "docker"),
            "XDG_RUNTIME_DIR": None,
            "XDG_CONFIG_HOME": None,
            "REGISTRY_AUTH_FILE": None,
            "REGISTRY_USERNAME": None,
            "REGISTRY_PASSWORD": None,
            "ACCELERAPP_REGISTRY": None,
            "CI": None,
            **{name: None for name in os.environ if name.lower().endswith("_proxy")},
        },
    )


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Return the layout of a small image."""
    return write_image(tmp_path / "image", "new")


@pytest.fixture
def proxy(registry: LocalRegistry) -> Iterator[FaultProxy]:
    """Yield the way to the registry; it is honest until it is told otherwise."""
    with FaultProxy(registry.address) as found:
        yield found


def assert_pushed(
    done: subprocess.CompletedProcess[str], registry: LocalRegistry, layout: Path, tag: str = TAG
) -> None:
    """Check that the registry has all of the image under the tag."""
    assert done.returncode == 0, done.stderr
    assert registry.digest(NAME, tag) == digest_of(layout)
    assert registry.is_whole(NAME, tag)


def assert_nothing_tagged(registry: LocalRegistry) -> None:
    """Check that nobody who asks for a tag finds half of an image."""
    assert registry.tags(NAME) == set()


# Who may push


@pytest.mark.parametrize(
    ("challenge", "field"),
    [
        (BEARER, "token"),
        (BEARER, "access_token"),
        ('bearer realm="{realm}",service=tests', "token"),
        (BEARER + ',scope="repository:accelerapp:pull,push"', "token"),
        ('Basic realm="a, \\"quoted\\" place", ' + BEARER, "token"),
        (BEARER + ', Negotiate, Basic realm="last"', "token"),
        (
            BEARER + ',error="insufficient_scope",scope="repository:accelerapp:pull"',
            "token",
        ),
    ],
    ids=[
        *("quoted", "access-token", "lower-case", "scope", "after-basic", "among-others"),
        "insufficient",
    ],
)
def test_a_token_is_got_whatever_form_the_challenge_has(
    registry: LocalRegistry,
    proxy: FaultProxy,
    push: Pusher,
    layout: Path,
    challenge: str,
    field: str,
) -> None:
    with TokenServer(field_name=field) as tokens:
        proxy.check = tokens.check(challenge)
        done = push(proxy.address, layout, **WITH_PASSWORD)
    assert_pushed(done, registry, layout)
    assert tokens.asked
    assert all(authorization == basic() for _, authorization in tokens.asked)
    # The password goes to the token server, and nowhere else.
    sent = {seen.authorization.partition(" ")[0] for seen in proxy.seen}
    assert sent <= {"", "Bearer"}


def test_basic_credentials_reach_a_registry_that_asks_for_them(
    registry_with_auth: LocalRegistry, push: Pusher, layout: Path
) -> None:
    with FaultProxy(registry_with_auth.address) as proxy:
        done = push(proxy.address, layout, **WITH_PASSWORD)
    assert done.returncode == 0, done.stderr
    assert proxy.seen[0].authorization == ""
    headers = {"Authorization": basic(), "Accept": "application/vnd.oci.image.index.v1+json"}
    status, found, _ = registry_with_auth.request("GET", f"/v2/{NAME}/manifests/{TAG}", headers)
    assert (status, found["docker-content-digest"]) == (200, digest_of(layout))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ()),
        ({"REGISTRY_USERNAME": USERNAME, "REGISTRY_PASSWORD": "wrong"}, ("REGISTRY_USERNAME",)),
    ],
    ids=["none", "wrong"],
)
@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_without_the_right_credentials_it_is_70(
    registry_with_auth: LocalRegistry,
    proxy: FaultProxy,
    push: Pusher,
    layout: Path,
    kind: str,
    variables: Mapping[str, str],
    expected: tuple[str, ...],
) -> None:
    address = registry_with_auth.address
    with TokenServer() as tokens:
        if kind == "bearer":
            address, proxy.check = proxy.address, tokens.check(BEARER)
        done = push(address, layout, **variables)
    assert_refused(done, 70, address, *expected, output=None)
    assert "wrong" not in done.stderr.replace("wrong,", "")
    assert not proxy.blob_bytes()


def test_a_token_server_that_forbids_is_71(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, layout: Path
) -> None:
    with TokenServer(denied=True) as tokens:
        proxy.check = tokens.check(BEARER)
        done = push(proxy.address, layout, **WITH_PASSWORD)
    assert_refused(done, 71, proxy.address, output=None)
    assert_nothing_tagged(registry)


def test_a_token_that_expires_on_the_way_is_renewed(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, layout: Path
) -> None:
    with TokenServer(lifetime_requests=10) as tokens:
        proxy.check = tokens.check(BEARER)
        done = push(proxy.address, layout, **WITH_PASSWORD)
    assert_pushed(done, registry, layout)
    assert len(tokens.asked) > 2


def test_a_challenge_that_cannot_be_read_is_74(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, layout: Path
) -> None:
    answer = Answer(401, (("WWW-Authenticate", 'Bearer realm="unfinished'),))
    proxy.check = lambda method, path, headers: answer
    done = push(proxy.address, layout, **WITH_PASSWORD)
    assert_refused(done, 74, proxy.address, output=None)


def test_a_registry_that_forbids_is_71(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, layout: Path
) -> None:
    errors = b'{"errors":[{"code":"DENIED","message":"not\\nfor you"}]}'
    proxy.faults = [Fault("POST", UPLOADS, status=403, body=errors)]
    done = push(proxy.address, layout)
    assert_refused(done, 71, proxy.address, "not for you", output=None)
    assert_nothing_tagged(registry)
    assert proxy.blob_bytes() == 0


HELPERS = {
    "fails": "echo 'the keychain is locked' >&2; exit 1",
    "hangs": "exec sleep 600",
    "talks": "echo 'no JSON at all'",
}


@pytest.mark.parametrize("behaviour", HELPERS)
def test_a_credential_helper_that_does_not_help_is_72(
    registry_with_auth: LocalRegistry, push: Pusher, layout: Path, behaviour: str
) -> None:
    programs = push.home / "bin"
    programs.mkdir()
    helper = programs / "docker-credential-tests"
    helper.write_text(f"#!/bin/sh\n{HELPERS[behaviour]}\n")
    helper.chmod(0o755)
    config = {"credHelpers": {registry_with_auth.address: "tests"}}
    (push.home / "docker" / "config.json").write_text(json.dumps(config))
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = push(registry_with_auth.address, layout, PATH=path)
    assert_refused(done, 72, "docker-credential-tests", output=None)


def test_a_credential_helper_that_is_missing_is_72(
    registry_with_auth: LocalRegistry, push: Pusher, layout: Path
) -> None:
    (push.home / "docker" / "config.json").write_text(json.dumps({"credsStore": "nowhere"}))
    done = push(registry_with_auth.address, layout)
    assert_refused(done, 72, "docker-credential-nowhere", output=None)


# What passes


PASSING: dict[str, tuple[Fault, ...]] = {
    **{
        str(status): (
            Fault("HEAD", r"/blobs/", times=1, status=status),
            Fault("POST", UPLOADS, times=1, status=status),
            Fault("PATCH", UPLOADS, times=1, status=status),
            Fault("PUT", UPLOADS, times=1, status=status),
            Fault("PUT", MANIFESTS, times=1, status=status),
        )
        for status in (500, 502, 503, 504)
    },
    "429": (Fault("POST", UPLOADS, times=2, status=429),),
    "429-seconds": (
        Fault("PATCH", UPLOADS, times=1, status=429, headers=(("Retry-After", "1"),)),
        Fault("PUT", MANIFESTS, times=1, status=429, headers=(("Retry-After", "1"),)),
    ),
    "reset-before": (
        Fault("POST", UPLOADS, times=1, reset="before"),
        Fault("PUT", MANIFESTS, times=1, reset="before"),
    ),
    "reset-mid-blob": (Fault("PATCH", UPLOADS, times=2, reset="middle"),),
    "reset-after": (
        Fault("PATCH", UPLOADS, times=1, reset="after"),
        Fault("PUT", UPLOADS, times=1, reset="after"),
        Fault("PUT", MANIFESTS, times=1, reset="after"),
    ),
    "short": (Fault("PATCH", UPLOADS, times=2, swallow=100),),
    "slow": (Fault("PATCH", UPLOADS, times=1, delay_s=1.5),),
}


@pytest.mark.parametrize("faults", PASSING.values(), ids=PASSING)
def test_what_passes_is_waited_for(
    registry: LocalRegistry,
    proxy: FaultProxy,
    push: Pusher,
    layout: Path,
    faults: tuple[Fault, ...],
) -> None:
    proxy.faults = list(faults)
    assert_pushed(push(proxy.address, layout), registry, layout)
    assert proxy.happened == {number: fault.times for number, fault in enumerate(faults)}


def test_a_date_in_retry_after_is_understood(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, layout: Path
) -> None:
    date = formatdate(time.time() + 2, usegmt=True)
    fault = Fault("POST", UPLOADS, times=1, status=429, headers=(("Retry-After", date),))
    proxy.faults = [fault]
    assert_pushed(push(proxy.address, layout), registry, layout)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("PATCH", UPLOADS, status=503), "503"),
        (Fault("PATCH", UPLOADS, reset="middle"), "keeps failing"),
    ],
    ids=["503", "reset"],
)
def test_what_does_not_pass_is_73(
    registry: LocalRegistry,
    proxy: FaultProxy,
    push: Pusher,
    layout: Path,
    fault: Fault,
    expected: str,
) -> None:
    proxy.faults = [fault]
    done = push(proxy.address, layout)
    assert_refused(done, 73, proxy.address, expected, output=None)
    assert_nothing_tagged(registry)


def test_a_registry_that_is_not_there_is_73(push: Pusher, layout: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert_refused(push(address, layout), 73, address, output=None)


# What registries refuse, and what they get wrong


def test_a_mount_that_is_refused_becomes_an_upload(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, layout: Path
) -> None:
    proxy.faults = [Fault("POST", r"mount=", status=404)]
    done = push(proxy.address, layout, "--from-repository", "elsewhere")
    assert_pushed(done, registry, layout)
    assert [seen for seen in proxy.requests("POST") if "mount=" in seen.query]


def test_a_layer_of_another_repository_is_mounted_and_not_sent(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, layout: Path
) -> None:
    first = push(proxy.address, layout, "--registry", f"{proxy.address}/elsewhere")
    assert first.returncode == 0, first.stderr
    proxy.forget()
    done = push(proxy.address, layout, "--from-repository", f"elsewhere/{NAME}", "--no-attach")
    assert_pushed(done, registry, layout)
    assert proxy.requests("PATCH") == []


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Return the layout of an image whose layers are larger than a chunk."""
    return write_image(tmp_path / "large", "large", layer_bytes=4_500_000)


def test_after_413_a_layer_goes_in_chunks(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, large: Path
) -> None:
    proxy.check = lambda method, path, headers: (
        Answer(413)
        if method == "PATCH" and int(headers.get("content-length", 1 << 30)) > 4 << 20
        else None
    )
    assert_pushed(push(proxy.address, large), registry, large)
    accepted = [seen.sent for seen in proxy.requests("PATCH") if seen.status == 202]
    assert max(accepted) <= 4 << 20
    assert len(accepted) >= 6


def test_a_chunk_that_is_refused_with_416_is_sent_from_where_the_registry_is(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, large: Path
) -> None:
    refused: list[str] = []

    def check(method: str, path: str, headers: Mapping[str, str]) -> Answer | None:
        if method != "PATCH" or int(headers["content-length"]) > 4 << 20:
            return Answer(413) if method == "PATCH" else None
        if not refused and not headers.get("content-range", "0-").startswith("0-"):
            refused.append(headers["content-range"])
            return Answer(416)
        return None

    proxy.check = check
    assert_pushed(push(proxy.address, large), registry, large)
    assert len(refused) == 1


def test_a_layer_that_is_too_large_in_every_way_is_77(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, layout: Path
) -> None:
    proxy.faults = [Fault("PATCH", UPLOADS, status=413)]
    assert_refused(push(proxy.address, layout), 77, proxy.address, output=None)
    assert_nothing_tagged(registry)


def test_a_manifest_over_4_mb_is_77_before_it_is_sent(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, tmp_path: Path
) -> None:
    fat = write_image(tmp_path / "fat", "fat", annotation="x" * (4 << 20))
    assert_refused(push(proxy.address, fat), 77, "4", output=None)
    assert_nothing_tagged(registry)
    assert proxy.requests("PUT", MANIFESTS) == []


def test_bytes_that_change_on_the_way_are_75(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, layout: Path
) -> None:
    proxy.faults = [Fault("PATCH", UPLOADS, damage=True)]
    assert_refused(push(proxy.address, layout), 75, proxy.address, "sha256:", output=None)
    assert_nothing_tagged(registry)


def test_a_registry_that_stored_another_manifest_is_75(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, layout: Path
) -> None:
    def lie(headers: Mapping[str, str]) -> Mapping[str, str]:
        return {**headers, "Docker-Content-Digest": f"sha256:{'0' * 64}"}

    proxy.faults = [Fault("PUT", MANIFESTS, answer=lie)]
    done = push(proxy.address, layout)
    assert_refused(done, 75, proxy.address, "another digest", output=None)
    assert_nothing_tagged(registry)


# Where registries send requests


def test_no_credential_follows_a_redirect_to_another_port(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, layout: Path
) -> None:
    with TokenServer() as tokens, FaultProxy(registry.address) as storage:
        proxy.check = tokens.check(BEARER)

        def elsewhere(headers: Mapping[str, str]) -> Mapping[str, str]:
            changed = {name.lower(): value for name, value in headers.items()}
            location = changed["location"]
            return {**changed, "location": location.replace(proxy.address, storage.address)}

        proxy.faults = [Fault("POST", UPLOADS, answer=elsewhere)]
        done = push(proxy.address, layout, **WITH_PASSWORD)
    assert_pushed(done, registry, layout)
    assert storage.requests("PATCH")
    assert {seen.authorization for seen in storage.seen} == {""}


def test_a_request_that_is_redirected_leaves_its_credentials_behind(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, layout: Path
) -> None:
    with TokenServer() as tokens, FaultProxy(registry.address) as other:
        target = f"http://{other.address}/v2/{NAME}/manifests/{TAG}"
        authorized = tokens.check(BEARER)

        def check(method: str, path: str, headers: Mapping[str, str]) -> Answer | None:
            refused = authorized(method, path, headers)
            if refused is None and method == "PUT" and path.endswith(f"/manifests/{TAG}"):
                return Answer(307, (("Location", target),))
            return refused

        proxy.check = check
        done = push(proxy.address, layout, **WITH_PASSWORD)
    assert_pushed(done, registry, layout)
    assert {seen.authorization for seen in other.seen} == {""}


@pytest.mark.parametrize(
    ("host", "how"),
    [
        ("127.0.0.2:9", "location"),
        ("10.0.0.1", "location"),
        ("169.254.169.254", "location"),
        ("169.254.169.254", "redirect"),
        ("[fd00::1]", "location"),
        ("192.168.0.1:5000", "location"),
    ],
)
def test_uploads_do_not_go_to_private_addresses(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, layout: Path, host: str, how: str
) -> None:
    places = (("Location", f"http://{host}/v2/{NAME}/blobs/uploads/x"),)
    status = 202 if how == "location" else 307
    method = "POST" if how == "location" else "PATCH"
    proxy.faults = [Fault(method, UPLOADS, status=status, headers=places)]
    done = push(proxy.address, layout)
    assert_refused(done, 76, host.strip("[]"), proxy.address, output=None)
    assert_nothing_tagged(registry)


# Names


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--registry", "{address}/Upper"), "upper"),
        (("--registry", "{address}/" + "x" * 260), "255"),
        (("--registry", "http://{address}"), "http"),
        (("--tag", "feature/x"), "feature/x"),
        (("--tag", "x" * 129), "128"),
        (("--tag", ".hidden"), ".hidden"),
    ],
    ids=["upper-case", "too-long", "scheme", "slash", "long-tag", "dot"],
)
def test_a_name_that_no_registry_accepts_is_17_and_nobody_is_asked(
    proxy: FaultProxy,
    push: Pusher,
    layout: Path,
    arguments: tuple[str, ...],
    expected: str,
) -> None:
    given = [argument.replace("{address}", proxy.address) for argument in arguments]
    done = push(proxy.address, layout, *given)
    assert_refused(done, 17, expected, output=None)
    assert proxy.seen == []


# At the same time, and cut short


def test_two_pushes_of_one_tag_leave_one_of_the_two(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, layout: Path, tmp_path: Path
) -> None:
    other = write_image(tmp_path / "other", "other")
    running = [
        push.checkout().start(*push.arguments(proxy.address, each)) for each in (layout, other)
    ]
    for process in running:
        _, errors = process.communicate(timeout=PUSH_TIMEOUT_S)
        assert process.returncode == 0, errors
    assert registry.digest(NAME, TAG) in {digest_of(layout), digest_of(other)}
    for each in (layout, other):
        assert registry.is_whole(NAME, digest_of(each))


@pytest.mark.parametrize("seed", range(4))
def test_a_push_that_is_killed_leaves_the_old_or_the_new_and_goes_on_where_it_was(
    registry: LocalRegistry, proxy: FaultProxy, push: Pusher, tmp_path: Path, seed: int
) -> None:
    old = write_image(tmp_path / "old", "old", layer_bytes=20_000)
    new = write_image(tmp_path / "new", "new", layer_bytes=1_000_000, shared="another")
    assert_pushed(push(proxy.address, old), registry, old)
    usual = len(proxy.seen)
    blobs = {layer.digest for part in open_layout(new).images for layer in part.layers}
    blobs |= {part.config.descriptor.digest for part in open_layout(new).images}
    points = random.Random(seed)
    codes = []
    for _ in range(3):
        proxy.forget()
        killed: list[Any] = []

        def kill(killed: list[Any] = killed) -> None:
            killed[0].kill()

        proxy.faults = [Fault("", "", first=points.randint(1, usual), times=1, act=kill)]
        process = push.checkout().start(*push.arguments(proxy.address, new))
        killed.append(process)
        process.communicate(timeout=PUSH_TIMEOUT_S)
        codes.append(process.returncode)
        assert registry.digest(NAME, TAG) in {digest_of(old), digest_of(new)}
        assert registry.is_whole(NAME, TAG)
    assert codes[0] == -signal.SIGKILL  # The later ones have less to do, and may be done.
    there = {digest for digest in blobs if registry.has_blob(NAME, digest)}
    proxy.forget()
    assert_pushed(push(proxy.address, new), registry, new)
    finished = {seen.query for seen in proxy.requests("PUT", UPLOADS)}
    sent = {digest for digest in blobs if any(digest[7:] in query for query in finished)}
    assert not sent & there
