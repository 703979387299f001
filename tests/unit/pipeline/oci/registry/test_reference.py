"""Names mean what they mean to Docker, and what no registry takes is refused with the remedy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import NameInvalid
from pipeline.oci.registry.reference import (
    DOCKER_HUB,
    Reference,
    Repository,
    check_digest,
    check_tag,
    familiar,
    host_of,
    is_loopback,
)

DIGEST = "sha256:" + "0123456789abcdef" * 4
KEY = "https://index.docker.io/v1/"


@pytest.mark.parametrize(
    ("text", "registry", "name", "spelling"),
    [
        ("ghcr.io/owner/app", "ghcr.io", "owner/app", "ghcr.io/owner/app"),
        ("ghcr.io/a/b/c-d__e.f", "ghcr.io", "a/b/c-d__e.f", "ghcr.io/a/b/c-d__e.f"),
        ("127.0.0.1:5000/app", "127.0.0.1:5000", "app", "127.0.0.1:5000/app"),
        ("localhost/app", "localhost", "app", "localhost/app"),
        ("[::1]:5000/app", "[::1]:5000", "app", "[::1]:5000/app"),
        ("registry:5000/app", "registry:5000", "app", "registry:5000/app"),
        ("python", DOCKER_HUB, "library/python", "docker.io/library/python"),
        ("owner/app", DOCKER_HUB, "owner/app", "docker.io/owner/app"),
        ("docker.io/python", DOCKER_HUB, "library/python", "docker.io/library/python"),
        ("index.docker.io/o/a", DOCKER_HUB, "o/a", "docker.io/o/a"),
        ("registry-1.docker.io/o/a", DOCKER_HUB, "o/a", "docker.io/o/a"),
    ],
)
def test_a_repository_has_a_registry_and_a_name(
    text: str, registry: str, name: str, spelling: str
) -> None:
    repository = Repository.parse(text)
    assert repository == Repository(registry, name)
    assert str(repository) == spelling
    assert Repository.parse(spelling) == repository


def test_docker_hub_is_found_by_its_old_name() -> None:
    assert Repository.parse("python").credentials_key == KEY
    assert Repository.parse("ghcr.io/o/a").credentials_key == "ghcr.io"
    assert Repository.parse("localhost:5000/a").credentials_key == "localhost:5000"
    assert (familiar(DOCKER_HUB), familiar("ghcr.io")) == ("docker.io", "ghcr.io")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ghcr.io/Owner/App", "write 'ghcr.io/owner/app'"),
        ("GHCR.io/owner/app", "write 'ghcr.io/owner/app'"),
        ("https://ghcr.io/owner/app", "write 'ghcr.io/owner/app'"),
        ("docker://ghcr.io/owner/app", "write 'ghcr.io/owner/app'"),
        ("ghcr.io/owner/app:1", "leave it out: ghcr.io/owner/app"),
        (f"ghcr.io/owner/app@{DIGEST}", "leave it out: ghcr.io/owner/app"),
        ("ghcr.io", "add one: ghcr.io/owner/name"),
        ("ghcr.io/", "add one: ghcr.io/owner/name"),
        ("localhost", "add one: localhost/owner/name"),
        ("127.0.0.1:5000", "ghcr.io/owner/name"),
        ("ghcr.io/owner//app", "empty part"),
        ("ghcr.io/owner/app/", "empty part"),
        ("/app", "empty part"),
        ("", "empty part"),
        ("ghcr.io/owner/-app", "'-app' cannot be a part"),
        ("ghcr.io/owner/a..b", "'a..b' cannot be a part"),
        ("ghcr.io/owner/a___b", "'a___b' cannot be a part"),
        ("ghcr.io/owner/a b", "'a b' cannot be a part"),
        ("ghcr.io/owner/../x", "'..' cannot be a part"),
        ("ghcr.io/owner/a?b", "'a?b' cannot be a part"),
        ("caf\u00e9/app", "cannot be a part"),
        ("a\nb", r"'a\nb'"),
        ("ghcr.io:99999/app", "'ghcr.io:99999'"),
        ("ghcr.io:0/app", "'ghcr.io:0'"),
        ("ghcr.io:/app", "'ghcr.io:'"),
        ("-a.io/app", "'-a.io'"),
        ("[::g]:5000/app", "'[::g]:5000'"),
        ("[fe80::1%25eth0]/app", "[fe80::1%25eth0]"),
    ],
)
def test_what_no_registry_takes_is_refused_with_the_remedy(text: str, problem: str) -> None:
    with pytest.raises(NameInvalid) as caught:
        Repository.parse(text)
    assert problem in str(caught.value)
    assert str(caught.value).isprintable()  # One line, whatever the input.


def test_255_characters_are_counted_with_the_registry() -> None:
    longest = "ghcr.io/" + "a" * 247
    assert str(Repository.parse(longest)) == longest
    with pytest.raises(NameInvalid, match="has 256 characters; registries take at most 255"):
        Repository.parse(longest + "a")


@pytest.mark.parametrize(
    "text",
    [
        "https://user:hunter2@ghcr.io/owner/app",
        "https://user:hunter2@ghcr.io",
        "user:hunter2@ghcr.io/owner/app",
        "user:hunter2!@ghcr.io",
    ],
)
@pytest.mark.parametrize("kind", [Repository, Reference])
def test_a_password_in_a_name_is_refused_and_not_repeated(
    text: str, kind: type[Repository] | type[Reference]
) -> None:
    with pytest.raises(NameInvalid) as caught:
        kind.parse(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "tag", "digest", "name"),
    [
        ("ghcr.io/o/a:1.0", "1.0", None, "1.0"),
        ("ghcr.io/o/a", "latest", None, "latest"),
        (f"ghcr.io/o/a@{DIGEST}", None, DIGEST, DIGEST),
        (f"ghcr.io/o/a:V1@{DIGEST}", "V1", DIGEST, DIGEST),
        ("localhost:5000/a", "latest", None, "latest"),
        ("localhost:5000/a:5001", "5001", None, "5001"),
        ("[::1]:5000/a:b", "b", None, "b"),
        ("python:3.11-slim", "3.11-slim", None, "3.11-slim"),
    ],
)
def test_a_reference_has_tag_digest_or_both(
    text: str, tag: str | None, digest: str | None, name: str
) -> None:
    reference = Reference.parse(text)
    assert (reference.tag, reference.digest, reference.name) == (tag, digest, name)
    assert Reference.parse(str(reference)) == reference


def test_a_reference_is_spelled_in_full() -> None:
    assert str(Reference.parse("python")) == "docker.io/library/python:latest"
    text = f"127.0.0.1:5000/a:b@{DIGEST}"
    assert str(Reference.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ghcr.io/o/a:", "'' is not a tag"),
        ("ghcr.io/o/a@", "'' is not a digest"),
        ("ghcr.io/o/a:-x", "'-x' is not a tag"),
        ("ghcr.io/o/a:feature/x", "a tag has no '/'"),
        ("ghcr.io/o/a@sha512:" + "a" * 128, "is not a digest"),
        (f"ghcr.io/o/a@{DIGEST}@{DIGEST}", "is not a digest"),
        ("ghcr.io/O/a:1", "write 'ghcr.io/o/a'"),
        ("[::1]", "a registry without a repository"),
    ],
)
def test_a_reference_that_cannot_be_is_refused(text: str, problem: str) -> None:
    with pytest.raises(NameInvalid) as caught:
        Reference.parse(text)
    assert problem in str(caught.value)


def test_a_reference_without_tag_and_digest_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match="a tag, a digest or both"):
        Reference(Repository("ghcr.io", "o/a"))


@pytest.mark.parametrize("tag", ["a", "_", "1.0", "A.b-c_d", "a" * 128])
def test_tags_are_given_back(tag: str) -> None:
    assert check_tag(tag) == tag


@pytest.mark.parametrize(
    ("tag", "suggestion"),
    [
        ("feature/x", "such as 'feature-x'"),
        ("-a", "such as 'a'"),
        (".a", "such as 'a'"),
        ("a b", "such as 'a-b'"),
        ("a" * 129, f"such as '{'a' * 128}'"),
        ("a\n", "such as 'a'"),
        ("", "starts with none of the last two"),
        ("\u00e9", "starts with none of the last two"),
    ],
)
def test_what_is_not_a_tag_is_refused_with_the_nearest(tag: str, suggestion: str) -> None:
    with pytest.raises(NameInvalid) as caught:
        check_tag(tag)
    assert str(caught.value).endswith(suggestion)


@given(st.text(max_size=200))
def test_a_suggested_tag_is_a_tag(text: str) -> None:
    try:
        assert check_tag(text) == text
    except NameInvalid as error:
        _, found, suggestion = str(error).rpartition(", such as '")
        if found:
            assert check_tag(suggestion[:-1])


@given(st.text(alphabet="aA0.:/@-_[] \n", max_size=40))
def test_any_text_is_a_reference_that_reads_back_or_is_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except NameInvalid:
        return
    assert Reference.parse(str(reference)) == reference


@given(st.text(max_size=300))
def test_an_error_is_one_line_whatever_the_input(text: str) -> None:
    with pytest.raises(NameInvalid) as caught:
        Reference.parse(f"ghcr.io/{text}//")
    assert str(caught.value).isprintable()


def test_digests_are_sha256_in_lower_case() -> None:
    assert check_digest(DIGEST) == DIGEST
    for wrong in (DIGEST.upper(), DIGEST[:-1], DIGEST + "0", DIGEST + "\n", DIGEST[7:], ""):
        with pytest.raises(NameInvalid, match="is not a digest"):
            check_digest(wrong)


@pytest.mark.parametrize(
    ("registry", "host"),
    [("ghcr.io", "ghcr.io"), ("a:5000", "a"), ("[::1]:5000", "::1"), ("[::1]", "::1")],
)
def test_the_host_of_a_registry_is_without_port_and_brackets(registry: str, host: str) -> None:
    assert host_of(registry) == host


def test_this_machine_is_known_by_name_and_address() -> None:
    for host in ("localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"):
        assert is_loopback(host), host
    for host in ("ghcr.io", "10.0.0.1", "0.0.0.0", "::", "localhost.example", "128.0.0.1"):
        assert not is_loopback(host), host
