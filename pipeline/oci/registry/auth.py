"""What a registry wants to see before it answers: Basic credentials, or a bearer token.

A registry answers 401 with challenges (RFC 9110, 11.6.1); for a Bearer challenge (RFC 6750)
a token is had from the service that it names, as Docker's token authentication
specification says: by OAuth2's POST, and by GET where that is not offered.

A registry chooses where its tokens come from, so it could point credentials anywhere. They
go over https, to the realm of the registry's own challenge, and never from a public
registry to a private address.
"""

from __future__ import annotations

import base64
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

from pipeline.errors import (
    AccessDenied,
    CredentialsRejected,
    PipelineError,
    RedirectUnsafe,
    RegistryRefused,
    RegistryUnavailable,
)
from pipeline.oci.registry.addresses import is_public, resolve
from pipeline.oci.registry.credentials import IDENTITY_USERNAME, Credentials, Secret, masked
from pipeline.oci.registry.reference import familiar, host_of, is_loopback

CLIENT_ID = "accelerapp-pipeline"
"""How the pipeline introduces itself to token services (a name, not a secret)."""

_DEFAULT_LIFETIME_S = 60.0
_MARGIN_S = 10.0
_TOKENS_KEPT = 64
_SHOWN_LIMIT = 200


# Challenges: RFC 9110, 11.6.1 and 5.6.

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_ENDS = r"(?=[ \t]*(?:,|\Z))"
_PARAMETER = re.compile(
    rf"({_NAME})[ \t]*=[ \t]*"
    rf'(?:({_NAME})|"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*)"){_ENDS}'
)
_SCHEME = re.compile(rf"({_NAME})(?:[ \t]+|{_ENDS})")
_TOKEN68 = re.compile(rf"([A-Za-z0-9._~+/-]+=*){_ENDS}")
_SEPARATOR = re.compile(r"[ \t,]*")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in which a registry says that it can be convinced."""

    scheme: str
    """In lower case: `bearer`, `basic`."""
    parameters: Mapping[str, str]
    """Names in lower case, values as they were before quoting."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes that the challenge names, such as `repository:owner/name:pull,push`."""
        return tuple(self.parameters.get("scope", "").split())


def parse_challenges(
    values: Iterable[str], *, registry: str = "the registry"
) -> tuple[Challenge, ...]:
    """Return the challenges of all `WWW-Authenticate` headers of an answer, in order.

    Raises `RegistryRefused`, which names `registry`, for what RFC 9110 does not allow.
    """
    return tuple(challenge for value in values for challenge in _challenges(value, registry))


def _challenges(value: str, registry: str) -> list[Challenge]:
    found: list[Challenge] = []
    parameters: dict[str, str] | None = None
    at = 0

    def malformed() -> RegistryRefused:
        return RegistryRefused(
            f"{registry} sent a WWW-Authenticate header that cannot be read: {_line(value)}",
            hint="a proxy may stand in between; ask whoever runs the registry",
        )

    while (at := _end(_SEPARATOR.match(value, at), at)) < len(value):
        # A name and "=" continue the challenge; anything else is the scheme of another one.
        parameter = _PARAMETER.match(value, at) if parameters is not None else None
        if parameter is None:
            scheme = _SCHEME.match(value, at)
            if scheme is None:
                raise malformed()
            parameters = {}
            found.append(Challenge(scheme[1].lower(), parameters))
            at = scheme.end()
            parameter = _PARAMETER.match(value, at)
        if parameter is not None and parameters is not None:
            name, plain, quoted = parameter.groups()
            if name.lower() in parameters:
                raise malformed()
            parameters[name.lower()] = plain or re.sub(r"\\(.)", r"\1", quoted or "")
            at = parameter.end()
        elif token68 := _TOKEN68.match(value, at):
            at = token68.end()
            parameters = None  # RFC 9110: it takes the place of all parameters.
        elif at < len(value) and value[at] != ",":
            raise malformed()
    return found


def _end(match: re.Match[str] | None, at: int) -> int:
    return match.end() if match else at


# Scopes: https://distribution.github.io/distribution/spec/auth/scope/


def repository_scope(name: str, *actions: str) -> str:
    """Return the scope for `actions` (`pull`, `push`, `delete`) on a repository.

    A push needs `pull` and `push`; a mount needs `pull` on the repository it takes from too.
    """
    return f"repository:{name}:{','.join(actions)}"


_Needs = dict[str, dict[str, None]]
"""Actions in order, by resource (`repository:owner/name`); none for scopes of other forms."""


def _needs(scopes: Iterable[str]) -> _Needs:
    merged: _Needs = {}
    for scope in scopes:
        resource, colon, actions = scope.rpartition(":")
        if not colon or ":" not in resource:
            resource, actions = scope, ""  # Not Docker's grammar: nothing to take apart.
        wanted = merged.setdefault(resource, {})
        wanted.update(dict.fromkeys(action for action in actions.split(",") if action))
    return merged


def _spelled(needs: _Needs) -> tuple[str, ...]:
    return tuple(
        f"{resource}:{','.join(actions)}" if actions else resource
        for resource, actions in needs.items()
    )


# Tokens.


@dataclass(frozen=True, slots=True)
class Answer:
    """What a token service says."""

    status: int
    body: bytes


Ask = Callable[[str, str, Mapping[str, str], bytes | None], Answer]
"""Sends method, URL, headers and body, tries again where that may help, and gives back the
last answer. It adds no Authorization, follows no redirect (a redirect is an answer), and
raises `RegistryUnavailable` when there is none."""

Addresses = Callable[[str], Sequence[str]]
"""Returns the addresses of a host, itself if it is one; none when they are not known, as
behind a proxy."""


@dataclass(slots=True)
class _Token:
    """A token, and what is known about its worth."""

    header: str
    covers: _Needs | None
    """What it was asked for; None when it is for everything."""
    renew_s: float
    """When it is too old to be sent, by the authorizer's clock."""
    is_accepted: bool = False
    """Whether a request that it was sent with has been answered other than by 401."""
    is_rejected: bool = False

    def suffices(self, needs: _Needs) -> bool:
        if self.covers is None:
            return True
        return all(
            resource in self.covers and actions.keys() <= self.covers[resource].keys()
            for resource, actions in needs.items()
        )


class _Thread(threading.local):
    """What one thread is doing."""

    token: _Token | None = None
    """What it sent with its last request."""


class Authorizer:
    """The `Authorization` header for one registry and one person. Thread-safe.

    A request is sent with `header(scopes)`. When it is answered 401, `challenged(…)` says
    whether it is worth sending again, with `header(scopes)` anew; if not, `refusal()` is
    the error to raise.
    """

    def __init__(
        self,
        registry: str,
        credentials: Callable[[], Credentials | None],
        ask: Ask,
        *,
        scheme: str = "https",
        plain_http: bool = False,
        addresses: Addresses = resolve,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Authorize for `registry` (`host[:port]`), which is spoken to by `scheme`.

        `plain_http` says that somebody asked for http explicitly; credentials go over http
        to other machines only then. `credentials` is called once at most, at the first
        challenge. `clock` is in seconds.
        """
        self._registry = registry
        self._find = credentials
        self._ask = ask
        self._scheme = scheme
        self._plain_http = plain_http
        self._addresses = addresses
        self._clock = clock
        self._title = familiar(registry)
        self._lock = threading.Lock()
        """Guards what follows; held for moments only."""
        self._tokens: list[_Token] = []
        self._challenge: Challenge | None = None
        self._basic: str | None = None
        self._renewal = threading.Lock()
        """Held while a token is asked for, so that threads which want the same one wait."""
        self._found: tuple[Credentials | None] | None = None
        self._refresh_token: Secret | None = None
        self._without_post: set[str] = set()
        self._thread = _Thread()

    def header(self, scopes: Sequence[str]) -> str | None:
        """Return the value of `Authorization` for a request that needs `scopes`.

        None as long as the registry has not asked for any. A token that is about to expire
        is renewed first, so this can raise what `challenged` raises.
        """
        needs = _needs(scopes)
        with self._lock:
            known = self._known(needs)
        if known is None and self._challenge is not None:
            with self._renewal:
                with self._lock:
                    known, challenge = self._known(needs), self._challenge
                if known is None and challenge is not None:
                    known = self._keep(self._obtain(challenge, needs))
        if isinstance(known, _Token):
            # What this thread sent last would not be known any more, had it been rejected.
            known.is_accepted |= self._thread.token is known
            self._thread.token = known
            return known.header
        return known

    def challenged(
        self, www_authenticate: Sequence[str], scopes: Sequence[str], *, sent: str | None
    ) -> bool:
        """Take in a 401: return True when `header(scopes)` is worth another try.

        `sent` is the header that the request had. A token that was sent is dropped, and one
        that covers what the challenge names (first) and `scopes` is asked for, unless
        another thread has done so meanwhile. False when what was sent is the best there is.

        Raises `RegistryRefused` for answers against the specifications, `RedirectUnsafe` for
        a realm where requests must not go, `CredentialsRejected` and `AccessDenied` when the
        token service refuses or the challenges are of no known kind, `RegistryUnavailable`
        when it does not answer, and what finding credentials raises.
        """
        challenges = parse_challenges(www_authenticate, registry=self._title)
        bearer = next((c for c in challenges if c.scheme == "bearer" and _realm(c)), None)
        is_basic = any(c.scheme == "basic" for c in challenges)
        if bearer is None and not is_basic:
            kinds = ", ".join(dict.fromkeys(c.scheme for c in challenges))
            raise CredentialsRejected(
                f"{self._title} refuses the request (401) and does not say what it wants to see"
                if not kinds
                else f"{self._title} wants credentials in a way that is not supported: {kinds}",
                hint="Basic and Bearer (with a realm) are; see whether the address is a registry's",
            )
        with self._renewal:
            return (bearer is not None and self._renewed(bearer, scopes, sent)) or (
                is_basic and self._turned_to_basic(sent)
            )

    def refusal(self) -> CredentialsRejected:
        """Return the error for a request that stays 401 after all there is to try."""
        credentials = self._found[0] if self._found else None
        if credentials is None:
            return CredentialsRejected(
                f"{self._title} wants credentials, and none were found for it",
                hint=f"log in with {self._login}, or set REGISTRY_USERNAME and "
                "REGISTRY_PASSWORD for the registry that is pushed to",
            )
        return CredentialsRejected(
            f"{self._title} does not accept the credentials from {credentials.origin}",
            hint=f"renew them, for example with {self._login}; a token needs the right to "
            "write packages for a push",
        )

    @property
    def _login(self) -> str:
        return "docker login" if self._title != self._registry else f"docker login {self._title}"

    def _known(self, needs: _Needs) -> _Token | str | None:
        """Return what there is to send; the caller holds the lock."""
        if self._basic is not None:
            return self._basic
        now_s = self._clock()
        for token in reversed(self._tokens):
            if not token.is_rejected and now_s < token.renew_s and token.suffices(needs):
                return token
        return None

    def _keep(self, token: _Token) -> _Token:
        with self._lock:
            self._tokens = [*self._tokens[1 - _TOKENS_KEPT :], token]
            self._basic = None
        return token

    def _renewed(self, challenge: Challenge, scopes: Sequence[str], sent: str | None) -> bool:
        needs = _needs((*challenge.scopes, *scopes))
        with self._lock:
            used = [token for token in self._tokens if token.header == sent]
            for token in used:
                token.is_rejected = True
            is_worn = any(t.is_accepted or self._clock() >= t.renew_s for t in used)
            if not is_worn and any(token.suffices(needs) for token in used):
                return False  # As good as any that the service would give.
            self._challenge = challenge
            known = self._known(needs)
        if isinstance(known, _Token) and known.header != sent:
            return True  # Another thread was faster.
        token = self._obtain(challenge, needs)
        if token.header == sent:
            return False
        self._keep(token)
        return True

    def _turned_to_basic(self, sent: str | None) -> bool:
        credentials = self._credentials()
        if credentials is None or not credentials.password:
            return False
        header = _basic_header(credentials.username, credentials.password, credentials.origin)
        if header == sent:
            return False
        with self._lock:
            self._basic = header
        return True

    def _credentials(self) -> Credentials | None:
        """Return the person's credentials; the caller holds the renewal lock."""
        if self._found is None:
            self._found = (self._find(),)
        (found,) = self._found
        is_safe = self._scheme == "https" or self._may_be_plain(host_of(self._registry))
        if found is not None and not is_safe:
            raise CredentialsRejected(
                f"{self._title} wants credentials, which are not sent to it over plain http",
                hint="use https, or ask for plain http explicitly",
            )
        return found

    # The token service.

    def _obtain(self, challenge: Challenge, needs: _Needs) -> _Token:
        """Return a new token for `needs`; the caller holds the renewal lock."""
        realm = self._checked_realm(_realm(challenge))
        credentials = self._credentials()
        if credentials is not None and credentials.registry_token:
            return _Token(f"Bearer {credentials.registry_token.reveal()}", None, math.inf)
        service = challenge.parameters.get("service", "")
        scopes = _spelled(needs)
        asked_s = self._clock()
        answer = self._answer(realm, service, scopes, credentials)
        if answer.status != 200:
            raise self._service_error(realm, answer, scopes, credentials)
        value, lifetime_s = self._token_in(answer, realm, credentials)
        margin_s = min(_MARGIN_S, lifetime_s / 6)
        return _Token(f"Bearer {value}", needs, asked_s + lifetime_s - margin_s)

    def _answer(
        self,
        realm: SplitResult,
        service: str,
        scopes: Sequence[str],
        credentials: Credentials | None,
    ) -> Answer:
        if credentials is None:
            return self._get(realm, service, scopes, {})
        identity = self._refresh_token or credentials.identity_token
        refused: Answer | None = None
        if realm.geturl() not in self._without_post:
            answer = self._post(realm, service, scopes, credentials, identity)
            # Some services answer POST with 400 or 401 because they know GET alone.
            if answer.status not in ((404, 405) if identity else (400, 401, 404, 405)):
                return answer
            if answer.status == 401:
                refused = answer
        secret = identity or credentials.password
        username = credentials.username or (IDENTITY_USERNAME if identity else "")
        basic = _basic_header(username, secret, credentials.origin)
        answer = self._get(realm, service, scopes, {"Authorization": basic})
        if answer.status == 200:
            self._without_post.add(realm.geturl())
        elif refused is not None and answer.status in (400, 404, 405):
            return refused
        return answer

    def _get(
        self, realm: SplitResult, service: str, scopes: Sequence[str], headers: Mapping[str, str]
    ) -> Answer:
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in scopes]
        joined = "&".join(part for part in (realm.query, urlencode(query)) if part)
        url = urlunsplit(realm._replace(query=joined))
        return self._ask("GET", url, {"Accept": "application/json", **headers}, None)

    def _post(
        self,
        realm: SplitResult,
        service: str,
        scopes: Sequence[str],
        credentials: Credentials,
        identity: Secret | None,
    ) -> Answer:
        """Ask as https://distribution.github.io/distribution/spec/auth/oauth/ says."""
        form = {"client_id": CLIENT_ID, "access_type": "online"}
        if identity:
            form |= {"grant_type": "refresh_token", "refresh_token": identity.reveal()}
        else:
            form |= {
                "grant_type": "password",
                "username": credentials.username,
                "password": credentials.password.reveal(),
            }
        if service:
            form["service"] = service
        if scopes:
            form["scope"] = " ".join(scopes)
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self._ask("POST", realm.geturl(), headers, urlencode(form).encode())

    def _token_in(
        self, answer: Answer, realm: SplitResult, credentials: Credentials | None
    ) -> tuple[str, float]:
        """Return token and lifetime in seconds of what a token service answered."""
        try:
            document = json.loads(answer.body)
            value = document.get("token") or document["access_token"]
            lifetime_s = float(document.get("expires_in") or _DEFAULT_LIFETIME_S)
            # RFC 6750 allows less, services send more; nothing may end the header's line.
            if not re.fullmatch(r"[!-~]+", value) or not math.isfinite(lifetime_s):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise RegistryRefused(
                f"{self._title}'s token service, {_place(realm)}, answered without a token",
                hint="a proxy may stand in between; ask whoever runs the registry",
            ) from None
        renewed = document.get("refresh_token")
        if credentials is not None and credentials.identity_token and isinstance(renewed, str):
            self._refresh_token = Secret(renewed) if renewed else self._refresh_token
        return value, lifetime_s if lifetime_s > 0 else _DEFAULT_LIFETIME_S

    def _service_error(
        self,
        realm: SplitResult,
        answer: Answer,
        scopes: Sequence[str],
        credentials: Credentials | None,
    ) -> PipelineError:
        is_identity = credentials is not None and credentials.identity_token is not None
        if answer.status == 401 or (answer.status == 403 and credentials is None):
            return self.refusal()
        if answer.status == 400 and is_identity and _detail(answer).startswith("invalid_grant"):
            return self.refusal()
        if answer.status == 403 and credentials is not None:
            return AccessDenied(
                f"{self._title} does not let the credentials from {credentials.origin} have "
                f"{' '.join(scopes) or 'access'}",
                hint="see who may push to and pull from the repository, and what the token may do",
            )
        said = _line(self._without_secrets(_detail(answer), credentials))
        what = f"{self._title}'s token service, {_place(realm)}, answered {answer.status}"
        what += f" ({said})" if said else ""
        if 300 <= answer.status < 400:
            return RegistryRefused(what, hint="redirects are not followed with credentials")
        if answer.status in (408, 429) or answer.status >= 500:
            return RegistryUnavailable(what, hint="try again later")
        return RegistryRefused(what, hint="ask whoever runs the registry")

    def _without_secrets(self, text: str, credentials: Credentials | None) -> str:
        """Return what a service said, should it repeat what it was told."""
        if credentials is None:
            return text
        secrets = []
        for secret in (credentials.password, credentials.identity_token, self._refresh_token):
            if secret:
                secrets.append(secret.reveal())
                for username in (credentials.username, IDENTITY_USERNAME):
                    secrets.append(_encoded(username, secret))
        return masked(text, secrets)

    def _checked_realm(self, realm: str) -> SplitResult:
        """Return the URL of the token service; raises unless requests may go there."""
        try:
            url = urlsplit(realm)
            host = url.hostname or ""
            is_usable = url.scheme in ("http", "https") and host and url.port != 0
            is_usable = is_usable and url.username is None and url.password is None
            is_usable = is_usable and realm.isascii() and realm.isprintable() and " " not in realm
        except ValueError:
            is_usable = False
        if not is_usable:
            raise RegistryRefused(
                f"{self._title} names a token service that is not one: {_line(realm)}",
                hint="ask whoever runs the registry",
            )
        url = url._replace(fragment="")
        if url.scheme == "http" and (self._scheme != "http" or not self._may_be_plain(host)):
            raise RedirectUnsafe(
                f"{self._title} sends requests for tokens over plain http, to {_place(url)}",
                hint="the registry has to name an https address",
            )
        own = host_of(self._registry)
        if self._is_private(host) and not self._is_private(own):
            raise RedirectUnsafe(
                f"{self._title} sends requests for tokens to a private address, {_place(url)}",
                hint="a public registry has no business there; ask whoever runs it",
            )
        return url

    def _may_be_plain(self, host: str) -> bool:
        return self._plain_http or is_loopback(host)

    def _is_private(self, host: str) -> bool:
        return is_loopback(host) or not all(map(is_public, self._addresses(host)))


def _realm(challenge: Challenge) -> str:
    return challenge.parameters.get("realm", "")


def _basic_header(username: str, password: Secret, origin: str) -> str:
    """Return Basic credentials (RFC 7617)."""
    if ":" in username:
        raise CredentialsRejected(
            f"the user name from {origin} has a ':' in it, which no registry can read",
            hint="correct it there",
        )
    return f"Basic {_encoded(username, password)}"


def _encoded(username: str, password: Secret) -> str:
    return base64.b64encode(f"{username}:{password.reveal()}".encode()).decode()


def _place(url: SplitResult) -> str:
    """Return a URL without its query."""
    return _line(f"{url.scheme}://{url.netloc}{url.path}")


def _detail(answer: Answer) -> str:
    """Return what an error answer says: OAuth's (RFC 6749, 5.2) or the registry's own form."""
    try:
        document: Any = json.loads(answer.body)
        if isinstance(document.get("errors"), list):
            document = document["errors"][0]
        parts = [document.get(key) for key in ("error", "code", "error_description", "message")]
        return ": ".join(part for part in parts if isinstance(part, str) and part)
    except (ValueError, AttributeError, IndexError, TypeError, RecursionError):
        return ""


def _line(text: str) -> str:
    """Return what others wrote, fit for one line of an error."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= _SHOWN_LIMIT else f"{line[:_SHOWN_LIMIT]}…"
