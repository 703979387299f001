"""Credentials are found where Docker and Podman put them, or the error says what is wrong."""

from __future__ import annotations

import base64
import copy
import json
import logging
import os
import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CredentialHelperFailed, OptionInvalid, ToolMissing
from pipeline.oci.registry.credentials import Credentials, Secret, find_credentials, masked
from pipeline.oci.registry.reference import Repository
from pipeline.process import Completed, Runner

HUB = "https://index.docker.io/v1/"
NOT_FOUND = "credentials not found in native keychain\n"


def auth(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


@dataclass
class Helpers:
    """Stands in for the programs: what each one knows, and what it was asked."""

    answers: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[tuple[tuple[str, ...], bytes | None, float | None]] = field(default_factory=list)

    def __call__(
        self,
        argv: tuple[str, ...],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        timeout_s: float | None = None,
        limit_bytes: int | None = None,
    ) -> Completed:
        assert env is None
        assert limit_bytes is not None
        self.asked.append((argv, stdin, timeout_s))
        if argv[0] not in self.answers:
            raise ToolMissing(f"'{argv[0]}' is not installed")
        code, stdout = self.answers[argv[0]]
        return Completed(argv, code, stdout, "")


def secret_of(username: str, secret: str) -> tuple[int, str]:
    return 0, json.dumps({"ServerURL": "x", "Username": username, "Secret": secret})


@dataclass
class Person:
    """Somebody with a home folder."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)

    def writes(self, document: Any, name: str = ".docker/config.json") -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    def finds(
        self,
        repository: str = "ghcr.io/owner/app",
        *,
        use_environment: bool = True,
        helpers: Runner | None = None,
        timeout_s: float = 10,
    ) -> Credentials | None:
        return find_credentials(
            Repository.parse(repository),
            environ=self.environ,
            home=self.home,
            use_environment=use_environment,
            runner=helpers or Helpers(),
            helper_timeout_s=timeout_s,
        )

    def finds_password(self, repository: str = "ghcr.io/owner/app") -> str | None:
        found = self.finds(repository)
        return found.password.reveal() if found else None


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path / "home")


# Secrets.


def test_a_secret_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret("hunter2")
    credentials = Credentials("me", secret, Secret("hunter2"), "a file", Secret("hunter2"))
    logging.getLogger("x").warning("%s %r", secret, credentials)
    shown = f"{secret} {secret!r} {secret:>20} {secret!s} {credentials} {[secret]}"
    assert "hunter2" not in shown + caplog.text
    assert not hasattr(secret, "__dict__")
    assert secret.reveal() == "hunter2"
    for write in (pickle.dumps, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            write(secret)


def test_secrets_are_equal_when_they_say_the_same() -> None:
    assert Secret("\u00e9") == Secret("\u00e9")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert not Secret("")


# The environment.


def test_nobody_has_credentials_by_default(person: Person) -> None:
    assert person.finds() is None


def test_the_environment_comes_first(person: Person) -> None:
    person.writes({"auths": {"ghcr.io": auth("file", "file")}})
    person.environ |= {"REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": "a:b"}
    found = person.finds()
    assert found == Credentials(
        "me", Secret("a:b"), None, "REGISTRY_USERNAME and REGISTRY_PASSWORD"
    )


def test_the_environment_is_for_the_registry_that_is_pushed_to(person: Person) -> None:
    person.environ |= {"REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": "secret"}
    assert person.finds("docker.io/library/python", use_environment=False) is None


def test_a_token_can_be_in_the_environment(person: Person) -> None:
    person.environ |= {"REGISTRY_USERNAME": "<token>", "REGISTRY_PASSWORD": "identity"}
    found = person.finds()
    assert found is not None
    assert found.identity_token == Secret("identity")
    assert not found.password


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("REGISTRY_USERNAME", "REGISTRY_PASSWORD"),
        ("REGISTRY_PASSWORD", "REGISTRY_USERNAME"),
    ],
)
def test_half_a_pair_is_an_error(person: Person, name: str, missing: str) -> None:
    person.environ[name] = "hunter2"
    with pytest.raises(OptionInvalid) as caught:
        person.finds()
    assert caught.value.message == f"{name} is set and {missing} is not"
    assert "hunter2" not in str(caught.value)
    assert person.finds(use_environment=False) is None


def test_empty_variables_are_as_good_as_none(person: Person) -> None:
    person.environ |= dict.fromkeys(
        ("REGISTRY_USERNAME", "REGISTRY_PASSWORD", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG"), ""
    )
    person.writes({"auths": {"ghcr.io": auth("me", "from home")}})
    assert person.finds_password() == "from home"


# Files.


def test_files_are_asked_in_order(person: Person) -> None:
    home = person.home
    person.environ |= {
        "REGISTRY_AUTH_FILE": str(home / "explicit.json"),
        "DOCKER_CONFIG": str(home / "docker"),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "XDG_CONFIG_HOME": str(home / "config"),
    }
    names = (
        "explicit.json",
        "docker/config.json",
        "run/containers/auth.json",
        "config/containers/auth.json",
    )
    paths = [person.writes({"auths": {"ghcr.io": auth("me", name)}}, name) for name in names]
    person.writes({"auths": {"ghcr.io": auth("me", "not this one")}})
    for name, path in zip(names, paths, strict=True):
        found = person.finds()
        assert found is not None
        assert (found.username, found.password.reveal(), found.origin) == ("me", name, str(path))
        path.write_text("{}")
    assert person.finds() is None


def test_homes_have_their_usual_folders(person: Person) -> None:
    person.writes({"auths": {"ghcr.io": auth("me", "podman")}}, ".config/containers/auth.json")
    assert person.finds_password() == "podman"
    person.writes({"auths": {"ghcr.io": auth("me", "docker")}}, ".docker/config.json")
    assert person.finds_password() == "docker"


def test_a_file_that_was_named_has_to_be_there(person: Person) -> None:
    person.environ["REGISTRY_AUTH_FILE"] = str(person.home / "none.json")
    with pytest.raises(CredentialHelperFailed, match=r"none\.json does not exist; .*_AUTH_FILE"):
        person.finds()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"auths": {"ghcr.io": {"auth": "hunter2"', "it is not JSON"),
        ("\x00\xff hunter2", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ('["hunter2"]', "it is not a JSON object"),
        ('{"auths": ["hunter2"]}', "auths is not an object"),
        ('{"auths": {"ghcr.io": "hunter2"}}', "the entry 'ghcr.io' is not an object"),
        ('{"auths": {"ghcr.io": {"auth": "hunter2!"}}}', "auth of 'ghcr.io' is not base64"),
        ('{"auths": {"ghcr.io": {"auth": "aHVudGVyMg=="}}}', "not a user name, ':' and a pass"),
        ('{"auths": {"ghcr.io": {"auth": "//8="}}}', "auth of 'ghcr.io' is not base64 of text"),
        ('{"auths": {"ghcr.io": {"password": 5}}}', "password of 'ghcr.io' is not a string"),
        ('{"credHelpers": {"ghcr.io": 5}}', "credHelpers has no name for 'ghcr.io'"),
        ('{"credHelpers": []}', "credHelpers is not an object"),
        ('{"credsStore": 5}', "credsStore is not a name"),
        ('{"credsStore": "../../bin/sh"}', "is not the name of a credential helper"),
    ],
)
def test_a_file_in_disorder_is_an_error_that_does_not_quote_it(
    person: Person, text: str, problem: str
) -> None:
    path = person.writes(text)
    with pytest.raises(CredentialHelperFailed) as caught:
        person.finds()
    message = str(caught.value)
    assert message.startswith(f"{path} cannot be used: ")
    assert problem in message
    assert "hunter2" not in message
    assert message.isprintable()


def test_an_entry_in_disorder_for_another_registry_is_no_concern(person: Person) -> None:
    person.writes({"auths": {"other.io": "?", "ghcr.io": auth("me", "good")}})
    assert person.finds_password() == "good"


def test_a_file_that_cannot_be_read_is_an_error(person: Person) -> None:
    path = person.home / ".docker" / "config.json"
    path.mkdir(parents=True)
    with pytest.raises(CredentialHelperFailed, match="cannot be read: Is a directory"):
        person.finds()


def test_an_empty_file_holds_nothing(person: Person) -> None:
    person.writes("\n")
    assert person.finds() is None


# Entries.


@pytest.mark.parametrize(
    "key",
    [
        "ghcr.io",
        "https://ghcr.io",
        "http://ghcr.io/",
        "https://ghcr.io/v1/",
        "https://ghcr.io/v2/",
        "ghcr.io/v2/",
        "https://ghcr.io/api/docker",
        "GHCR.io",
        "ghcr.io/owner",
        "ghcr.io/owner/app",
    ],
)
def test_a_key_is_read_however_it_is_written(person: Person, key: str) -> None:
    person.writes({"auths": {key: auth("me", "found")}})
    assert person.finds_password() == "found"


@pytest.mark.parametrize(
    "key",
    [
        "ghcr.io/own",
        "ghcr.io/owner/ap",
        "ghcr.io/owner/app/more",
        "ghcr.io:443",
        "ghcr.io.example",
        "xghcr.io",
        HUB,
        "",
    ],
)
def test_a_key_for_something_else_does_not_match(person: Person, key: str) -> None:
    person.writes({"auths": {key: auth("me", "stolen")}})
    assert person.finds() is None


@pytest.mark.parametrize(
    "key", [HUB, "docker.io", "index.docker.io", "registry-1.docker.io", "docker.io/library"]
)
def test_docker_hub_has_many_names(person: Person, key: str) -> None:
    person.writes({"auths": {key: auth("me", "found")}})
    assert person.finds_password("python") == "found"
    assert person.finds_password("ghcr.io/library/python") is None


def test_the_most_specific_key_wins(person: Person) -> None:
    keys = ["ghcr.io", "ghcr.io/owner/app", "ghcr.io/owner"]
    person.writes({"auths": {key: auth("me", key) for key in keys}})
    for repository in ("ghcr.io/owner/app", "ghcr.io/owner/app/sub"):
        assert person.finds_password(repository) == "ghcr.io/owner/app"
    assert person.finds_password("ghcr.io/owner/application") == "ghcr.io/owner"
    assert person.finds_password("ghcr.io/other/app") == "ghcr.io"


def test_the_usual_spelling_wins_over_others(person: Person) -> None:
    person.writes({"auths": {"https://ghcr.io": auth("a", "odd"), "ghcr.io": auth("b", "usual")}})
    assert person.finds_password() == "usual"
    person.writes({"auths": {"docker.io": auth("a", "odd"), HUB: auth("b", "usual")}})
    assert person.finds_password("python") == "usual"


def test_a_port_is_part_of_the_key(person: Person) -> None:
    person.writes({"auths": {"127.0.0.1:5000": auth("me", "5000")}})
    assert person.finds_password("127.0.0.1:5000/app") == "5000"
    assert person.finds_password("127.0.0.1:5001/app") is None


@pytest.mark.parametrize(
    ("entry", "username", "password", "identity", "registry"),
    [
        (auth("me", "p:w"), "me", "p:w", None, None),
        (auth("me", "pw\0\0"), "me", "pw", None, None),
        (auth("", "pw"), "", "pw", None, None),
        ({"username": "me", "password": "pw"}, "me", "pw", None, None),
        ({"auth": "bWU6\ncHc=\n"}, "me", "pw", None, None),
        (auth("<token>", "id"), "<token>", "", "id", None),
        ({**auth("me", ""), "identitytoken": "id"}, "me", "", "id", None),
        ({"identitytoken": "id"}, "", "", "id", None),
        ({"registrytoken": "bearer"}, "", "", None, "bearer"),
    ],
)
def test_an_entry_has_a_password_or_a_token(
    person: Person,
    entry: Any,
    username: str,
    password: str,
    identity: str | None,
    registry: str | None,
) -> None:
    path = person.writes({"auths": {"ghcr.io": entry}})
    assert person.finds() == Credentials(
        username,
        Secret(password),
        Secret(identity) if identity else None,
        str(path),
        Secret(registry) if registry else None,
    )


@pytest.mark.parametrize("entry", [{}, {"email": "a@b"}, {"auth": ""}, {"auth": None}])
def test_an_empty_entry_means_that_it_is_elsewhere(person: Person, entry: Any) -> None:
    person.writes({"auths": {"ghcr.io/owner": entry, "ghcr.io": auth("me", "elsewhere")}})
    assert person.finds_password() == "elsewhere"


# Helpers: the order.


def test_a_helper_gets_the_server_on_stdin_and_a_deadline(person: Person) -> None:
    person.writes({"credHelpers": {"ghcr.io": "own"}})
    helpers = Helpers({"docker-credential-own": secret_of("me", "pw")})
    found = person.finds(helpers=helpers)
    assert found == Credentials("me", Secret("pw"), None, "docker-credential-own")
    assert helpers.asked == [(("docker-credential-own", "get"), b"ghcr.io", 10)]


def test_helpers_are_for_whole_registries(person: Person) -> None:
    person.writes({"credHelpers": {"ghcr.io/owner": "own", "ghcr.io:443": "own"}})
    helpers = Helpers({"docker-credential-own": secret_of("me", "pw")})
    assert person.finds(helpers=helpers) is None
    assert helpers.asked == []


@pytest.mark.parametrize("key", [HUB, "docker.io", "index.docker.io"])
def test_a_helper_knows_docker_hub_by_its_old_name(person: Person, key: str) -> None:
    person.writes({"credHelpers": {key: "hub"}})
    helpers = Helpers({"docker-credential-hub": secret_of("me", "pw")})
    assert person.finds("python", helpers=helpers) is not None
    assert helpers.asked[0][1] == HUB.encode()


def test_own_helper_then_entry_then_common_helper(person: Person) -> None:
    document = {
        "credHelpers": {"ghcr.io": "own", "other.io": "missing"},
        "auths": {"ghcr.io": auth("me", "entry")},
        "credsStore": "common",
    }
    person.writes(document)
    knowing = {
        "docker-credential-own": secret_of("me", "own"),
        "docker-credential-common": secret_of("me", "common"),
    }
    ignorant = {**knowing, "docker-credential-own": (1, NOT_FOUND)}

    def password(answers: Mapping[str, tuple[int, str]]) -> str | None:
        found = person.finds(helpers=Helpers(answers))
        return found.password.reveal() if found else None

    assert password(knowing) == "own"
    assert password(ignorant) == "entry"
    person.writes({**document, "auths": {"ghcr.io": {}}})
    assert password(ignorant) == "common"
    assert password(dict.fromkeys(ignorant, (1, NOT_FOUND))) is None


def test_a_helper_that_knows_nothing_leaves_it_to_the_next_file(person: Person) -> None:
    person.writes({"credsStore": "common"})
    person.writes({"auths": {"ghcr.io": auth("me", "podman")}}, ".config/containers/auth.json")
    found = person.finds(helpers=Helpers({"docker-credential-common": (1, NOT_FOUND)}))
    assert found is not None
    assert found.password == Secret("podman")


def test_an_identity_token_comes_from_a_helper_too(person: Person) -> None:
    person.writes({"credsStore": "common"})
    found = person.finds(
        helpers=Helpers({"docker-credential-common": secret_of("<token>", "identity")})
    )
    assert found is not None
    assert (found.identity_token, found.password) == (Secret("identity"), Secret(""))


# Helpers: real programs.


class Programs:
    """A folder of helpers, on PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def write(self, script: str, *, name: str = "test", first: str = "#!/bin/sh\n") -> None:
        path = self.folder / f"docker-credential-{name}"
        path.write_text(f"{first}{script}\n")
        path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    return Programs(tmp_path / "bin", monkeypatch)


def real(person: Person, *, timeout_s: float = 10) -> Credentials | None:
    person.writes({"credsStore": "test"})
    return find_credentials(
        Repository.parse("ghcr.io/owner/app"),
        environ={},
        home=person.home,
        use_environment=True,
        helper_timeout_s=timeout_s,
    )


def test_a_real_helper_is_asked(
    person: Person, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEPT", "kept")
    programs.write(
        """read -r server
printf '{"ServerURL":"%s","Username":"%s %s %s","Secret":"pw"}' "$server" "$server" "$1" "$KEPT\""""
    )
    found = real(person)
    assert found == Credentials("ghcr.io get kept", Secret("pw"), None, "docker-credential-test")


def test_a_real_helper_that_reads_nothing_is_asked(person: Person, programs: Programs) -> None:
    programs.write("""exec <&-; echo '{"Username":"me","Secret":"pw"}'""")
    found = real(person)
    assert found is not None
    assert found.password == Secret("pw")


@pytest.mark.parametrize(
    "script", [f"echo '{NOT_FOUND.strip()}'; exit 1", f"echo '{NOT_FOUND.strip()}' >&2; exit 1"]
)
def test_a_real_helper_knows_nothing(person: Person, programs: Programs, script: str) -> None:
    programs.write(script)
    assert real(person) is None


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo 'the keychain is locked'; exit 1", "exit code 1: the keychain is locked"),
        ("echo 'no bus' >&2; exit 3", "failed with exit code 3: no bus"),
        ('echo \'{"Username":"me","Secret":"hunter2"}\'; exit 1', "failed with exit code 1; "),
        ("echo hunter2", "gave an answer that cannot be read"),
        ('echo \'{"Username":"me"}\'', "gave an answer that cannot be read"),
        ('echo \'{"Username":"me","Secret":["hunter2"]}\'', "gave an answer that cannot be read"),
        ("echo '[\"hunter2\"]'", "gave an answer that cannot be read"),
        (":", "gave an answer that cannot be read"),
        (r"printf '\377\376hunter2'", "gave an answer that cannot be read"),
        ("kill -9 $$", "failed with exit code -9"),
    ],
)
def test_a_real_helper_that_fails_is_named_and_its_answer_kept_secret(
    person: Person, programs: Programs, script: str, problem: str
) -> None:
    programs.write(script)
    with pytest.raises(CredentialHelperFailed) as caught:
        real(person)
    message = str(caught.value)
    assert "docker-credential-test, which " in message
    assert "config.json names for ghcr.io, " in message
    assert problem in message
    assert "hunter2" not in message
    assert message.isprintable()


def test_a_real_helper_that_hangs_is_ended_with_all_its_children(
    person: Person, programs: Programs, tmp_path: Path
) -> None:
    programs.write(f"sleep 600 & echo $! >{tmp_path}/child; echo $$ >{tmp_path}/self; wait")
    with pytest.raises(CredentialHelperFailed, match="did not answer within 1 s"):
        real(person, timeout_s=1)
    for name in ("self", "child"):
        wait_for_end(int((tmp_path / name).read_text()))


def test_a_real_helper_that_floods_is_ended_at_once(
    person: Person, programs: Programs, tmp_path: Path
) -> None:
    programs.write(f"echo $$ >{tmp_path}/self; exec yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
    with pytest.raises(CredentialHelperFailed, match="prints more than 1 MB"):
        real(person, timeout_s=60)
    wait_for_end(int((tmp_path / "self").read_text()))


@pytest.mark.parametrize("name", ["REGISTRY_USERNAME", "REGISTRY_PASSWORD"])
def test_an_environment_that_is_no_text_is_named_and_not_shown(person: Person, name: str) -> None:
    person.environ = {"REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": "pw", name: "s3cr\udcff"}
    with pytest.raises(OptionInvalid, match=f"{name} is not UTF-8") as caught:
        person.finds(use_environment=True)
    assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    ["p:w ö%x", "p%3Aw%20%C3%B6%25x", "p%3Aw+%C3%B6%25x", "p:w \\u00f6%x"],
    ids=["as it is", "in a path", "in a form", "in JSON"],
)
def test_a_secret_is_masked_however_it_is_spelled(said: str) -> None:
    assert masked(f"denied {said}!", ["p:w ö%x"]) == "denied ***!"


def wait_for_end(process_id: int) -> None:
    for _ in range(1000):
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(f"{process_id} still runs")


def test_a_real_helper_that_is_missing_is_named(person: Person, programs: Programs) -> None:
    with pytest.raises(CredentialHelperFailed) as caught:
        real(person)
    assert caught.value.message.startswith("'docker-credential-test' is not installed, and ")
    assert caught.value.message.endswith("config.json says to ask it for ghcr.io")


def test_a_real_helper_that_is_no_program_is_named(person: Person, programs: Programs) -> None:
    programs.write("", first="\x7fnot a program")
    with pytest.raises(CredentialHelperFailed, match="cannot be run: Exec format error"):
        real(person)
