"""Requests about one repository: authorized where the registry asks for it, refusals judged.

A request that may be sent twice gets a new token on the way; one that may not (a blob that
is half received) says that it has one, and its sender starts over.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from pipeline.errors import (
    AccessDenied,
    NotInRegistry,
    PipelineError,
    RegistryCorrupt,
    RegistryRefused,
    TooLargeForRegistry,
)
from pipeline.oci.registry import auth
from pipeline.oci.registry.addresses import resolve
from pipeline.oci.registry.auth import Authorizer, repository_scope
from pipeline.oci.registry.credentials import Credentials
from pipeline.oci.registry.http import (
    SMALL_BYTES,
    Answer,
    Body,
    Http,
    Reply,
    Request,
    base_url,
    described,
)
from pipeline.oci.registry.reference import Repository, familiar

_CHALLENGES = 4
"""How many 401 a request may meet; more are a registry that cannot be satisfied."""


class TokenRenewed(Exception):
    """A request that was answered 401, for which there is another token now."""


class Exchange:
    """What is said to a registry about one repository. Thread-safe."""

    def __init__(
        self,
        http: Http,
        repository: Repository,
        credentials: Callable[[], Credentials | None],
        *,
        plain_http: bool = False,
    ) -> None:
        self.http = http
        self.repository = repository
        self.title = familiar(repository.registry)
        """What people call the registry."""
        self.home = base_url(repository.registry, plain_http=plain_http)
        self._authorizer = Authorizer(
            repository.registry,
            credentials,
            self._ask_token_service,
            scheme=self.home.partition("://")[0],
            plain_http=plain_http,
            addresses=resolve,
        )

    def request(
        self,
        method: str,
        path: str,
        what: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Request:
        """Return a request to the repository; `path` follows `/v2/<name>/`, or is a URL that
        the registry named."""
        url = path if "://" in path else f"{self.home}/v2/{self.repository.name}/{path}"
        return Request(method, url, what, headers or {}, body, home=self.home)

    def scopes(self, *actions: str, sources: Sequence[str] = ()) -> tuple[str, ...]:
        """Return scopes for the repository, and for reading from `sources` beside it."""
        others = (repository_scope(source, "pull") for source in sources)
        return (repository_scope(self.repository.name, *actions), *others)

    def ask(
        self, request: Request, scopes: Sequence[str], *, limit_bytes: int = SMALL_BYTES
    ) -> Answer:
        """Return the answer to a request that may be sent several times."""
        for _ in range(_CHALLENGES):
            sent, authorized = self._authorized(request, scopes)
            answer = self.http.ask(authorized, limit_bytes=limit_bytes)
            if not self._is_renewed(answer, scopes, sent):
                return answer
        raise self._authorizer.refusal()

    def ask_once(self, request: Request, scopes: Sequence[str]) -> Answer:
        """Return the answer to a request that is sent once.

        Raises `Interrupted`, and `TokenRenewed` when there is reason to start over.
        """
        sent, authorized = self._authorized(request, scopes)
        answer = self.http.ask_once(authorized)
        if self._is_renewed(answer, scopes, sent):
            raise TokenRenewed
        return answer

    @contextlib.contextmanager
    def open(self, request: Request, scopes: Sequence[str]) -> Iterator[Reply]:
        """Give an answer whose body is still to be read; raises as `ask_once` does."""
        sent, authorized = self._authorized(request, scopes)
        with self.http.open(authorized) as reply:
            if reply.status == 401 and self._is_renewed(reply.read(), scopes, sent):
                raise TokenRenewed
            yield reply

    def refused(self, answer: Answer, request: Request) -> PipelineError:
        """Return the error for an answer that is not what the specification promises."""
        who = self.title
        if not answer.is_home:
            who = f"{answer.place.authority}, where {self.title} keeps its blobs,"
        said = described(answer, request)
        if answer.status == 401 and answer.is_home:
            return self._authorizer.refusal()
        if answer.status in (401, 403):
            return AccessDenied(
                f"{who} denies {request.what}: {said}",
                hint="see who may push to and pull from the repository, and what the token may do",
            )
        if answer.status == 404:
            return NotInRegistry(
                f"{who} has nothing for {request.what}: {said}",
                hint="see whether the name is right; some registries want a repository to be "
                "created before the first push",
            )
        if answer.status == 413:
            return TooLargeForRegistry(
                f"{who} finds too large what was sent for {request.what}: {said}",
                hint="ask whoever runs the registry, or a proxy before it, for a higher limit",
            )
        if "DIGEST_INVALID" in said:
            return RegistryCorrupt(
                f"{who} received other bytes than were sent, {request.what}: {said}",
                hint="try again; a proxy in between may change what passes through it",
            )
        return RegistryRefused(
            f"{who} answers {request.what} with {said}", hint="ask whoever runs the registry"
        )

    def _authorized(self, request: Request, scopes: Sequence[str]) -> tuple[str | None, Request]:
        header = self._authorizer.header(scopes)
        return header, replace(request, authorization=header)

    def _is_renewed(self, answer: Answer, scopes: Sequence[str], sent: str | None) -> bool:
        """Whether to send again; only the registry itself can ask for credentials."""
        if answer.status != 401 or not answer.is_home:
            return False
        if not self._authorizer.challenged(answer.challenges, scopes, sent=sent):
            raise self._authorizer.refusal()
        return True

    def _ask_token_service(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> auth.Answer:
        request = Request(
            method,
            url,
            f"asking for a token for {self.repository}",
            headers=headers,
            body=None if body is None else Body.of(body, headers.get("Content-Type", "")),
            follow=False,
        )
        answer = self.http.ask(request)
        return auth.Answer(answer.status, answer.body)


def short(digest: str) -> str:
    """Return a digest as messages show it: `sha256:0123456789ab`."""
    algorithm, _, value = digest.partition(":")
    return f"{algorithm}:{value[:12]}"


def differs(declared: str, data_or_digest: bytes | str) -> bool:
    """Whether a Docker-Content-Digest contradicts the bytes (or the sha256) that it is for.

    An empty one, or one of an algorithm that nothing here computes, says nothing.
    """
    algorithm, _, value = declared.strip().partition(":")
    if isinstance(data_or_digest, str):
        return algorithm == "sha256" and declared.strip() != data_or_digest
    if algorithm not in ("sha256", "sha512") or not re.fullmatch("[0-9a-f]+", value):
        return False
    return hashlib.new(algorithm, data_or_digest).hexdigest() != value
