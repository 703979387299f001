"""A registry's challenges are met, and nobody gets a password who should not have it."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import (
    AccessDenied,
    CredentialsRejected,
    RedirectUnsafe,
    RegistryRefused,
    RegistryUnavailable,
)
from pipeline.oci.registry.auth import (
    Answer,
    Authorizer,
    Challenge,
    parse_challenges,
    repository_scope,
)
from pipeline.oci.registry.credentials import Credentials, Secret
from pipeline.oci.registry.reference import DOCKER_HUB

REALM = "https://auth.example/token"
BEARER = f'Bearer realm="{REALM}",service="registry.example"'
PUSH = repository_scope("o/a", "pull", "push")
PULL = repository_scope("o/a", "pull")
SOURCE = repository_scope("o/source", "pull")
ME = Credentials("me", Secret("hunter2"), None, "the file x.json")
IDENTITY = Credentials("<token>", Secret(""), Secret("hunter2"), "the file x.json")
BASIC = "Basic " + base64.b64encode(b"me:hunter2").decode()
ADDRESSES = {"10.0.0.1": "10.0.0.1", "inside.example": "10.0.0.2", "mapped": "::ffff:10.0.0.1"}


# Challenges.


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([""], []),
        ([" , ,"], []),
        (["Basic"], [("basic", {})]),
        (['Basic realm="r"'], [("basic", {"realm": "r"})]),
        (["BASIC REALM=r"], [("basic", {"realm": "r"})]),
        (
            ['Bearer realm="https://a/b?c=d,e",service="s",scope="repository:o/a:pull,push"'],
            [
                (
                    "bearer",
                    {
                        "realm": "https://a/b?c=d,e",
                        "service": "s",
                        "scope": "repository:o/a:pull,push",
                    },
                )
            ],
        ),
        (
            ['Basic realm="a, Bearer b=c", Bearer realm="d" , error="invalid_token"'],
            [
                ("basic", {"realm": "a, Bearer b=c"}),
                ("bearer", {"realm": "d", "error": "invalid_token"}),
            ],
        ),
        (
            ["Bearer realm=a", "Basic realm=b"],
            [("bearer", {"realm": "a"}), ("basic", {"realm": "b"})],
        ),
        (["Negotiate, Bearer realm=a"], [("negotiate", {}), ("bearer", {"realm": "a"})]),
        (["Negotiate abc/+==, Basic realm=a"], [("negotiate", {}), ("basic", {"realm": "a"})]),
        ([r'Basic realm="a \"quoted\" \\ name"'], [("basic", {"realm": r'a "quoted" \ name'})]),
        (['Bearer realm = "a" ,\tservice\t=\ts'], [("bearer", {"realm": "a", "service": "s"})]),
        (["Basic realm=a,, ,charset=utf-8"], [("basic", {"realm": "a", "charset": "utf-8"})]),
        (['Basic realm=""'], [("basic", {"realm": ""})]),
    ],
)
def test_challenges_are_read(
    values: Sequence[str], expected: Sequence[tuple[str, Mapping[str, str]]]
) -> None:
    assert parse_challenges(values) == tuple(Challenge(*pair) for pair in expected)


@pytest.mark.parametrize(
    "value",
    [
        'Bearer realm="https://a',
        'Bearer realm="a" service="b"',
        'Bearer realm="a",realm="b"',
        'Bearer realm="a", REALM="b"',
        "Bearer realm=https://a/b",
        "Basic Bearer realm=a",
        "=a",
        'Basic "a"',
        'Basic realm="a"b',
        'Basic realm="a\nb"',
        'Basic realm="a\\',
        "B\u00e9arer realm=a",
        "Negotiate abc==, realm=a, =",
    ],
)
def test_what_is_not_a_challenge_is_refused(value: str) -> None:
    with pytest.raises(RegistryRefused) as caught:
        parse_challenges([value], registry="ghcr.io")
    assert "ghcr.io sent a WWW-Authenticate header that cannot be read" in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.text(alphabet='aB=", \\\t/:', max_size=60))
def test_any_header_is_read_or_refused(value: str) -> None:
    try:
        challenges = parse_challenges([value])
    except RegistryRefused:
        return
    assert all(challenge.scheme for challenge in challenges)


_TOKENS = st.text(alphabet="abcXYZ019-_.", min_size=1, max_size=8)


@given(
    st.lists(
        st.tuples(
            _TOKENS,
            st.dictionaries(
                _TOKENS.map(str.lower),
                st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
                max_size=3,
            ),
        ),
        max_size=4,
    )
)
def test_what_was_quoted_is_what_is_read(
    challenges: Sequence[tuple[str, Mapping[str, str]]],
) -> None:
    def quoted(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    header = ", ".join(
        " ".join((scheme, ", ".join(f"{name}={quoted(value)}" for name, value in pairs.items())))
        for scheme, pairs in challenges
    )
    expected = tuple(Challenge(scheme.lower(), pairs) for scheme, pairs in challenges)
    assert parse_challenges([header]) == expected


# Tokens: a token service, and a registry with one person who asks.


@dataclass
class Asked:
    """A request that the token service got."""

    method: str
    url: str
    headers: Mapping[str, str]
    form: Mapping[str, str]

    @property
    def scopes(self) -> list[str]:
        """What was asked for, either way."""
        if self.method == "POST":
            return self.form.get("scope", "").split()
        return parse_qs(urlsplit(self.url).query).get("scope", [])


@dataclass
class Service:
    """A token service that knows POST and GET, and hands out `t1`, `t2`, …"""

    statuses: Mapping[str, int] = field(default_factory=dict)
    """By method, where it is not 200."""
    error: bytes = b""
    document: dict[str, object] = field(default_factory=dict)
    """What an answer says besides the token."""
    key: str = "token"
    asked: list[Asked] = field(default_factory=list)
    granted: int = 0
    meanwhile: Callable[[], None] = lambda: None

    def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        self.asked.append(Asked(method, url, headers, dict(parse_qsl((body or b"").decode()))))
        self.meanwhile()
        status = self.statuses.get(method, 200)
        if status != 200:
            return Answer(status, self.error)
        self.granted += 1
        return Answer(200, json.dumps({self.key: f"t{self.granted}", **self.document}).encode())


@dataclass
class Clock:
    """Time that passes when a test says so."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


def addresses(host: str) -> Sequence[str]:
    return (ADDRESSES.get(host, "8.8.8.8"),)


def authorizer(
    service: Service,
    credentials: Credentials | None = None,
    *,
    registry: str = "registry.example",
    scheme: str = "https",
    plain_http: bool = False,
    clock: Callable[[], float] | None = None,
) -> Authorizer:
    return Authorizer(
        registry,
        lambda: credentials,
        service,
        scheme=scheme,
        plain_http=plain_http,
        addresses=addresses,
        clock=clock or Clock(),
    )


def test_nothing_is_sent_before_a_registry_asks() -> None:
    def nobody() -> Credentials | None:
        raise AssertionError("credentials were looked for")

    service = Service()
    assert Authorizer("registry.example", nobody, service).header([PUSH]) is None
    assert service.asked == []


def test_credentials_are_looked_for_once() -> None:
    calls: list[int] = []

    def find() -> Credentials:
        calls.append(1)
        return ME

    one = Authorizer("registry.example", find, Service(), addresses=addresses)
    assert one.challenged([BEARER], [PULL], sent=None)
    assert one.challenged([BEARER], [PUSH], sent=one.header([PULL]))
    assert calls == [1]


def test_a_token_is_asked_for_by_post_with_the_password() -> None:
    service = Service()
    one = authorizer(service, ME)
    assert one.challenged([BEARER], [PUSH, SOURCE], sent=None)
    assert one.header([PUSH, SOURCE]) == "Bearer t1"
    (asked,) = service.asked
    assert (asked.method, asked.url) == ("POST", REALM)
    assert asked.form == {
        "grant_type": "password",
        "username": "me",
        "password": "hunter2",
        "service": "registry.example",
        "scope": f"{PUSH} {SOURCE}",
        "client_id": "accelerapp-pipeline",
        "access_type": "online",
    }
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in asked.headers


@pytest.mark.parametrize("status", [400, 401, 404, 405])
def test_a_service_without_post_is_asked_by_get(status: int) -> None:
    service = Service({"POST": status})
    one = authorizer(service, ME)
    assert one.challenged([BEARER], [PUSH, SOURCE], sent=None)
    _, asked = service.asked
    assert (asked.method, asked.headers["Authorization"]) == ("GET", BASIC)
    query = parse_qsl(urlsplit(asked.url).query)
    assert query == [("service", "registry.example"), ("scope", PUSH), ("scope", SOURCE)]
    assert one.header([repository_scope("o/b", "pull")]) == "Bearer t2"
    assert [asked.method for asked in service.asked] == ["POST", "GET", "GET"]  # It has learnt.


def test_without_credentials_a_token_is_asked_for_all_the_same() -> None:
    service = Service()
    one = authorizer(service)
    assert one.challenged([BEARER], [PULL], sent=None)
    (asked,) = service.asked
    assert asked.method == "GET"
    assert "Authorization" not in asked.headers
    assert one.header([PULL]) == "Bearer t1"


def test_an_identity_token_is_exchanged() -> None:
    service = Service(document={"refresh_token": "another"})
    one = authorizer(service, IDENTITY)
    assert one.challenged([BEARER], [PUSH], sent=None)
    assert service.asked[0].form == {
        "grant_type": "refresh_token",
        "refresh_token": "hunter2",
        "service": "registry.example",
        "scope": PUSH,
        "client_id": "accelerapp-pipeline",
        "access_type": "online",
    }
    assert one.header([SOURCE]) == "Bearer t2"
    assert service.asked[1].form["refresh_token"] == "another"  # The service renewed it.


def test_an_identity_token_goes_by_get_where_there_is_no_post() -> None:
    service = Service({"POST": 404})
    one = authorizer(service, IDENTITY)
    assert one.challenged([BEARER], [PUSH], sent=None)
    expected = "Basic " + base64.b64encode(b"<token>:hunter2").decode()
    assert service.asked[1].headers["Authorization"] == expected


def test_a_registry_token_is_sent_as_it_is() -> None:
    service = Service()
    one = authorizer(service, Credentials("", Secret(""), None, "x.json", Secret("given")))
    assert one.challenged([BEARER], [PUSH], sent=None)
    assert one.header([PUSH]) == one.header([SOURCE]) == "Bearer given"
    assert not one.challenged([BEARER], [PUSH], sent="Bearer given")
    assert service.asked == []


def test_access_token_is_another_name_for_token() -> None:
    one = authorizer(Service(key="access_token"), ME)
    assert one.challenged([BEARER], [PUSH], sent=None)
    assert one.header([PUSH]) == "Bearer t1"


def test_a_realm_keeps_its_query_and_services_are_optional() -> None:
    service = Service()
    challenge = 'Bearer realm="https://auth.example/token?account=a%26b#fragment"'
    assert authorizer(service).challenged([challenge], [PULL], sent=None)
    query = parse_qsl(urlsplit(service.asked[0].url).query)
    assert query == [("account", "a&b"), ("scope", PULL)]
    assert "#" not in service.asked[0].url


# Scopes.


def test_the_missing_scope_goes_first_and_each_once() -> None:
    service = Service()
    challenge = f'{BEARER},scope="repository:o/source:pull registry:catalog:*"'
    assert authorizer(service).challenged([challenge], [PUSH, SOURCE], sent=None)
    assert service.asked[0].scopes == [SOURCE, "registry:catalog:*", PUSH]


def test_actions_on_one_repository_are_one_scope() -> None:
    service = Service()
    challenge = f'{BEARER},scope="{PULL}"'
    assert authorizer(service).challenged(
        [challenge], [PUSH, repository_scope("o/a", "delete")], sent=None
    )
    assert service.asked[0].scopes == ["repository:o/a:pull,push,delete"]


@pytest.mark.parametrize("scope", ["aws", "repository:host:5000/a:pull", "*", "a:b"])
def test_scopes_of_other_forms_are_passed_on(scope: str) -> None:
    service = Service()
    one = authorizer(service)
    assert one.challenged([f'{BEARER},scope="{scope}"'], [], sent=None)
    assert service.asked[0].scopes == [scope]
    assert one.header([scope]) == "Bearer t1"


def test_a_token_serves_whatever_it_covers() -> None:
    service = Service()
    one = authorizer(service, ME)
    assert one.challenged([BEARER], [PUSH, SOURCE], sent=None)
    for scopes in ([PUSH], [PULL], [SOURCE], [SOURCE, PULL], []):
        assert one.header(scopes) == "Bearer t1"
    assert len(service.asked) == 1
    assert one.header([repository_scope("o/source", "push")]) == "Bearer t2"
    assert one.header([PUSH]) == "Bearer t1"
    assert len(service.asked) == 2


def test_a_challenge_for_more_gets_a_token_for_more() -> None:
    service = Service()
    one = authorizer(service, ME)
    assert one.challenged([BEARER], [PULL], sent=None)
    sent = one.header([PULL])
    assert one.challenged(
        [f'{BEARER},scope="{PUSH}",error="insufficient_scope"'], [PULL], sent=sent
    )
    assert service.asked[1].scopes == [PUSH]
    assert one.header([PULL]) == "Bearer t2"


# Age.


@pytest.mark.parametrize(
    ("lifetime", "fresh_s", "old_s"),
    [
        ({}, 49, 51),
        ({"expires_in": 300}, 289, 291),
        ({"expires_in": "300"}, 289, 291),
        ({"expires_in": 6}, 4, 5.5),
        ({"expires_in": 0}, 49, 51),
        ({"expires_in": None}, 49, 51),
        ({"expires_in": -5}, 49, 51),
    ],
)
def test_a_token_is_renewed_before_it_expires(
    lifetime: dict[str, object], fresh_s: float, old_s: float
) -> None:
    clock = Clock()
    service = Service(document=lifetime)
    one = authorizer(service, ME, clock=clock)
    start_s = clock.now_s
    assert one.challenged([BEARER], [PUSH], sent=None)
    clock.now_s = start_s + fresh_s
    assert one.header([PUSH]) == "Bearer t1"
    clock.now_s = start_s + old_s
    assert one.header([PUSH]) == "Bearer t2"
    assert service.asked[1].scopes == [PUSH]


def test_the_time_that_the_service_takes_counts() -> None:
    clock = Clock()
    service = Service()

    def pass_time() -> None:
        clock.now_s += 45

    service.meanwhile = pass_time
    one = authorizer(service, ME, clock=clock)
    assert one.challenged([BEARER], [PUSH], sent=None)
    clock.now_s += 6
    assert one.header([PUSH]) == "Bearer t2"


def test_a_token_that_worked_and_is_rejected_is_replaced() -> None:
    service = Service()
    one = authorizer(service, ME)
    assert one.challenged([BEARER], [PUSH], sent=None)
    one.header([PUSH])
    sent = one.header([PUSH])  # The first request was answered otherwise than by 401.
    assert one.challenged([BEARER], [PUSH], sent=sent)
    assert one.header([PUSH]) == "Bearer t2"


def test_a_token_that_was_rejected_is_not_sent_again() -> None:
    service = Service()
    one = authorizer(service, ME)
    assert one.challenged([BEARER], [PUSH, SOURCE], sent=None)
    one.header([PULL])
    assert one.challenged([BEARER], [PULL], sent=one.header([PULL]))
    assert one.header([PULL]) == "Bearer t2"
    assert one.header([PUSH]) == "Bearer t3"  # The first one was for this as well.


def test_a_token_that_never_worked_is_not_replaced() -> None:
    service = Service()
    one = authorizer(service, ME)
    assert one.challenged([BEARER], [PUSH], sent=None)
    sent = one.header([PUSH])
    assert not one.challenged([BEARER], [PUSH], sent=sent)
    assert len(service.asked) == 1


def test_a_token_that_became_old_on_its_way_is_replaced() -> None:
    clock = Clock()
    one = authorizer(Service(), ME, clock=clock)
    assert one.challenged([BEARER], [PUSH], sent=None)
    sent = one.header([PUSH])
    clock.now_s += 55
    assert one.challenged([BEARER], [PUSH], sent=sent)
    assert one.header([PUSH]) == "Bearer t2"


def test_the_same_token_again_is_no_reason_to_try_again() -> None:
    one = authorizer(Service(document={"token": "always"}), ME)
    assert one.challenged([BEARER], [PULL], sent=None)
    sent = one.header([PULL])
    assert sent == one.header([PULL]) == "Bearer always"
    assert not one.challenged([BEARER], [PUSH], sent=sent)


def test_threads_whose_token_expired_renew_it_once() -> None:
    service = Service(meanwhile=let_others_in)
    one = authorizer(service, ME)
    assert one.challenged([BEARER], [PUSH], sent=None)
    workers = 8
    together = threading.Barrier(workers)
    headers: list[str | None] = []

    def work() -> None:
        one.header([PUSH])
        sent = one.header([PUSH])
        together.wait(10)
        assert one.challenged([BEARER], [PUSH], sent=sent)
        headers.append(one.header([PUSH]))

    run_threads([work] * workers)
    assert headers == ["Bearer t2"] * workers
    assert service.granted == 2


def test_threads_whose_token_gets_old_renew_it_once() -> None:
    clock = Clock()
    service = Service(meanwhile=let_others_in)
    one = authorizer(service, ME, clock=clock)
    assert one.challenged([BEARER], [PUSH], sent=None)
    clock.now_s += 55
    together = threading.Barrier(8)
    headers: list[str | None] = []

    def work() -> None:
        together.wait(10)
        headers.append(one.header([PUSH]))

    run_threads([work] * 8)
    assert headers == ["Bearer t2"] * 8


def test_threads_that_want_the_same_token_ask_once() -> None:
    service = Service(meanwhile=let_others_in)
    one = authorizer(service, ME)
    together = threading.Barrier(8)
    headers: list[str | None] = []

    def work() -> None:
        together.wait(10)
        assert one.challenged([BEARER], [PUSH], sent=None)
        headers.append(one.header([PUSH]))

    run_threads([work] * 8)
    assert headers == ["Bearer t1"] * 8


def test_a_token_is_at_hand_while_another_is_asked_for() -> None:
    service = Service()
    one = authorizer(service, ME)
    assert one.challenged([BEARER], [PUSH], sent=None)
    asking, done = threading.Event(), threading.Event()

    def wait() -> None:
        asking.set()
        assert done.wait(10)

    service.meanwhile = wait

    def meanwhile() -> None:
        assert asking.wait(10)
        assert one.header([PUSH]) == "Bearer t1"
        done.set()

    run_threads([lambda: one.header([SOURCE]), meanwhile])
    assert service.granted == 2


def let_others_in() -> None:
    """Take the time that a network would, so that threads meet."""
    time.sleep(0.02)


def run_threads(jobs: Sequence[Callable[[], object]]) -> None:
    """Run jobs at the same time; what fails in one is raised here."""
    failures: list[BaseException] = []

    def guarded(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    for failure in failures:
        raise failure


# Basic.


def test_basic_credentials_are_sent_where_they_are_asked_for() -> None:
    service = Service()
    one = authorizer(service, ME)
    assert one.challenged(['basic realm="r"'], [PUSH], sent=None)
    assert one.header([PUSH]) == one.header([SOURCE]) == BASIC
    assert not one.challenged(['basic realm="r"'], [PUSH], sent=BASIC)
    assert service.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        [BEARER, "Basic realm=r"],
        ["Basic realm=r", BEARER],
        [f"Basic realm=r, {BEARER}"],
        ["Negotiate", "Digest realm=r, nonce=n", BEARER],
    ],
)
def test_bearer_is_preferred(headers: Sequence[str]) -> None:
    one = authorizer(Service(), ME)
    assert one.challenged(headers, [PUSH], sent=None)
    assert one.header([PUSH]) == "Bearer t1"


def test_basic_is_what_remains_when_a_token_is_not_accepted() -> None:
    one = authorizer(Service(), ME)
    headers = [BEARER, "Basic realm=r"]
    assert one.challenged(headers, [PUSH], sent=None)
    assert one.challenged(headers, [PUSH], sent=one.header([PUSH]))
    assert one.header([PUSH]) == BASIC
    assert not one.challenged(["Basic realm=r"], [PUSH], sent=BASIC)


def test_a_registry_may_change_its_mind() -> None:
    one = authorizer(Service(), ME)
    assert one.challenged(["Basic realm=r"], [PUSH], sent=None)
    assert one.challenged([BEARER], [PUSH], sent=BASIC)
    assert one.header([PUSH]) == "Bearer t1"
    assert one.challenged(["Basic realm=r"], [PUSH], sent="Bearer t1")
    assert one.header([PUSH]) == BASIC


def test_a_bearer_challenge_without_a_realm_leaves_basic() -> None:
    one = authorizer(Service(), ME)
    assert one.challenged(['Bearer service="s", Basic realm=r'], [PUSH], sent=None)
    assert one.header([PUSH]) == BASIC


@pytest.mark.parametrize("credentials", [None, IDENTITY])
def test_basic_needs_a_password(credentials: Credentials | None) -> None:
    one = authorizer(Service(), credentials)
    assert not one.challenged(["Basic realm=r"], [PUSH], sent=None)
    assert one.header([PUSH]) is None


def test_a_user_name_with_a_colon_is_refused() -> None:
    one = authorizer(Service(), Credentials("a:b", Secret("hunter2"), None, "the file x.json"))
    with pytest.raises(CredentialsRejected, match=r"the user name from the file x\.json has a ':'"):
        one.challenged(["Basic realm=r"], [PUSH], sent=None)


# Refusals.


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ([], "does not say what it wants to see"),
        (["Negotiate, Digest realm=r"], "in a way that is not supported: negotiate, digest"),
        (["Bearer service=s"], "in a way that is not supported: bearer"),
    ],
)
def test_a_registry_that_wants_something_else_is_named(
    headers: Sequence[str], problem: str
) -> None:
    with pytest.raises(CredentialsRejected) as caught:
        authorizer(Service(), ME).challenged(headers, [PUSH], sent=None)
    assert caught.value.message.startswith("registry.example ")
    assert problem in caught.value.message


def test_a_malformed_header_is_refused() -> None:
    with pytest.raises(RegistryRefused, match=r"registry\.example sent a WWW-Authenticate"):
        authorizer(Service(), ME).challenged(['Bearer realm="'], [PUSH], sent=None)


def test_without_credentials_the_error_says_how_to_give_them() -> None:
    one = authorizer(Service())
    assert one.challenged([BEARER], [PUSH], sent=None)
    assert not one.challenged([BEARER], [PUSH], sent=one.header([PUSH]))
    message = str(one.refusal())
    assert message.startswith("registry.example wants credentials, and none were found for it; ")
    for remedy in ("docker login registry.example,", "REGISTRY_USERNAME", "REGISTRY_PASSWORD"):
        assert remedy in message


def test_docker_hub_is_called_what_people_call_it() -> None:
    one = authorizer(Service(), registry=DOCKER_HUB)
    assert one.challenged([BEARER], [PUSH], sent=None)
    message = str(one.refusal())
    assert message.startswith("docker.io wants")
    assert "log in with docker login, or" in message


def test_credentials_that_are_not_accepted_are_named_by_their_origin() -> None:
    one = authorizer(Service(), ME)
    assert one.challenged([BEARER], [PUSH], sent=None)
    assert not one.challenged([BEARER], [PUSH], sent=one.header([PUSH]))
    message = str(one.refusal())
    assert message.startswith(
        "registry.example does not accept the credentials from the file x.json; "
    )
    assert "docker login registry.example" in message


OAUTH_ERROR = json.dumps(
    {"error": "invalid_grant", "error_description": "no\nhunter2 " + BASIC.split()[1]}
).encode()
OCI_ERROR = json.dumps({"errors": [{"code": "DENIED", "message": "not you, hunter2"}]}).encode()


@pytest.mark.parametrize(
    ("credentials", "statuses", "error", "kind", "problem"),
    [
        (ME, {"POST": 401, "GET": 401}, OAUTH_ERROR, CredentialsRejected, "from the file x.json"),
        (ME, {"POST": 401, "GET": 404}, OAUTH_ERROR, CredentialsRejected, "from the file x.json"),
        (ME, {"POST": 404, "GET": 401}, b"", CredentialsRejected, "from the file x.json"),
        (ME, {"POST": 403}, OCI_ERROR, AccessDenied, f"x.json have {PUSH}"),
        (ME, {"POST": 404, "GET": 403}, OCI_ERROR, AccessDenied, f"x.json have {PUSH}"),
        (ME, {"POST": 404, "GET": 400}, OAUTH_ERROR, RegistryRefused, "answered 400 (invalid_gr"),
        (ME, {"POST": 404, "GET": 404}, b"<html>", RegistryRefused, "answered 404; "),
        (ME, {"POST": 307}, b"", RegistryRefused, "redirects are not followed"),
        (ME, {"POST": 503}, OCI_ERROR, RegistryUnavailable, "503 (DENIED: not you, ***)"),
        (ME, {"POST": 429}, b"[]", RegistryUnavailable, "answered 429; "),
        (IDENTITY, {"POST": 401}, b"", CredentialsRejected, "from the file x.json"),
        (IDENTITY, {"POST": 400}, OAUTH_ERROR, CredentialsRejected, "from the file x.json"),
        (IDENTITY, {"POST": 400}, b"{}", RegistryRefused, "answered 400"),
        (None, {"GET": 401}, b"", CredentialsRejected, "none were found for it"),
        (None, {"GET": 403}, b"", CredentialsRejected, "none were found for it"),
    ],
)
def test_what_a_token_service_refuses_is_told_without_secrets(
    credentials: Credentials | None,
    statuses: Mapping[str, int],
    error: bytes,
    kind: type[Exception],
    problem: str,
) -> None:
    one = authorizer(Service(statuses, error), credentials)
    with pytest.raises(kind) as caught:
        one.challenged([BEARER], [PUSH], sent=None)
    message = str(caught.value)
    assert problem in message
    assert "registry.example" in message
    assert message.isprintable()
    assert "hunter2" not in message
    assert BASIC.split()[1] not in message


def test_a_refusal_cuts_no_secret_in_half() -> None:
    secret = "s" * 50
    error = json.dumps({"error": "x" * 180 + secret}).encode()
    one = authorizer(Service({"POST": 503}, error), Credentials("me", Secret(secret), None, "x"))
    with pytest.raises(RegistryUnavailable) as caught:
        one.challenged([BEARER], [PUSH], sent=None)
    assert "sss" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"token": 5}',
        b'{"token": ""}',
        b'{"token": "a\\r\\nX: y"}',
        b'{"token": "a b"}',
        b'{"token": "\\u00e9"}',
        b'{"token": "a", "expires_in": "soon"}',
        b'{"token": "a", "expires_in": NaN}',
        b'{"token": "a", "expires_in": [5]}',
        b"[" * 100_000,
    ],
)
def test_an_answer_without_a_token_is_refused(body: bytes) -> None:
    one = Authorizer(
        "registry.example", lambda: ME, lambda *_: Answer(200, body), addresses=addresses
    )
    with pytest.raises(RegistryRefused) as caught:
        one.challenged([BEARER], [PUSH], sent=None)
    assert caught.value.message == (
        "registry.example's token service, https://auth.example/token, answered without a token"
    )


# Where requests for tokens go.


@pytest.mark.parametrize(
    "realm",
    [
        "/token",
        "auth.example/token",
        "ftp://auth.example/token",
        "https://",
        "https:///token",
        "https://user:hunter2@auth.example/token",
        "https://user@auth.example/token",
        "https://auth.example:99999/",
        "https://[::1/",
        "https://auth.example/a b",
        "https://\u00e9.example/",
    ],
)
def test_a_realm_that_is_no_address_is_refused(realm: str) -> None:
    service = Service()
    with pytest.raises(RegistryRefused, match="names a token service that is not one"):
        authorizer(service, ME).challenged([f'Bearer realm="{realm}"'], [PUSH], sent=None)
    assert service.asked == []


@pytest.mark.parametrize(
    ("registry", "scheme", "plain_http", "realm", "is_allowed"),
    [
        ("registry.example", "https", False, "https://auth.example/", True),
        ("registry.example", "https", False, "http://auth.example/", False),
        ("registry.example", "https", True, "http://auth.example/", False),
        ("registry.example", "http", True, "http://auth.example/", True),
        ("127.0.0.1:5000", "http", False, "http://127.0.0.1:5001/", True),
        ("localhost:5000", "http", False, "http://[::1]:5001/", True),
        ("127.0.0.1:5000", "http", False, "http://auth.example/", False),
        ("127.0.0.1:5000", "http", False, "https://auth.example/", True),
        ("127.0.0.1:5000", "https", False, "http://127.0.0.1:5001/", False),
        ("registry.example", "https", False, "https://127.0.0.1/", False),
        ("registry.example", "https", False, "https://localhost/", False),
        ("registry.example", "https", False, "https://[::1]/", False),
        ("registry.example", "https", False, "https://10.0.0.1/", False),
        ("registry.example", "https", False, "https://inside.example/", False),
        ("registry.example", "https", False, "https://mapped/", False),
        ("inside.example", "https", False, "https://10.0.0.1/", True),
        ("inside.example:5000", "https", False, "https://inside.example/", True),
        ("10.0.0.1", "https", False, "https://auth.example/", True),
    ],
)
@pytest.mark.parametrize("credentials", [ME, None])
def test_a_registry_chooses_its_token_service_within_limits(
    registry: str,
    scheme: str,
    plain_http: bool,
    realm: str,
    is_allowed: bool,
    credentials: Credentials | None,
) -> None:
    service = Service()
    one = authorizer(service, credentials, registry=registry, scheme=scheme, plain_http=plain_http)
    if is_allowed:
        assert one.challenged([f'Bearer realm="{realm}"'], [PUSH], sent=None)
        assert service.asked[0].url.startswith(realm)
    else:
        with pytest.raises(RedirectUnsafe):
            one.challenged([f'Bearer realm="{realm}"'], [PUSH], sent=None)
        assert service.asked == []


def test_hosts_that_only_a_proxy_knows_are_left_to_it() -> None:
    one = Authorizer("registry.example", lambda: ME, Service(), addresses=lambda _: ())
    assert one.challenged([BEARER], [PUSH], sent=None)


@pytest.mark.parametrize("challenge", ["Basic realm=r", BEARER])
def test_credentials_do_not_go_over_plain_http_unasked(challenge: str) -> None:
    service = Service()
    with pytest.raises(CredentialsRejected, match="not sent to it over plain http"):
        authorizer(service, ME, scheme="http").challenged([challenge], [PUSH], sent=None)
    assert service.asked == []
    assert authorizer(service, ME, scheme="http", plain_http=True).challenged(
        [challenge], [PUSH], sent=None
    )
    assert authorizer(service, ME, registry="127.0.0.1:5000", scheme="http").challenged(
        [challenge], [PUSH], sent=None
    )


def test_a_token_service_learns_what_it_is_told_and_no_more() -> None:
    service = Service({"POST": 404})
    one = authorizer(service, ME)
    assert one.challenged([BEARER], [PUSH], sent=None)
    assert {urlsplit(asked.url).netloc for asked in service.asked} == {"auth.example"}
    assert all("hunter2" not in asked.url for asked in service.asked)
