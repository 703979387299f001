"""Every way in which an image, or what is said of it, can be tampered with is refused by name."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import commands
from pipeline.errors import (
    AccessDenied,
    CredentialsRejected,
    NotInRegistry,
    NotVerified,
    OptionInvalid,
    VerificationFailed,
)
from pipeline.oci.image import Document, Format, canonical
from pipeline.oci.layout import blob_path, open_layout
from pipeline.oci.registry.client import Registry
from pipeline.oci.registry.reference import Reference
from pipeline.platforms import Platform
from pipeline.provenance import Inputs, provenance_path, write_provenance
from pipeline.report import Silent
from pipeline.revision import Revision
from pipeline.sbom.make import SbomRequest, make_sboms
from pipeline.settings import DESCRIPTION, LOCK, read_settings
from pipeline.shipping import PushRequest, push
from pipeline.verify import provenance
from pipeline.verify.checks import Check, Evidence, Outcome, Verification
from pipeline.verify.run import Clock, VerifyRequest, evidence_beside, verify, verify_layout
from tests.unit.pipeline.factories import World
from tests.unit.pipeline.oci.registry.faulty_registry import FaultyRegistry
from tests.unit.pipeline.sbom.conftest import write_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BOTH = (Platform.AMD64, Platform.ARM64)


class Shelf:
    """A built image with everything that is said of it, to be tampered with."""

    def __init__(self, world: World) -> None:
        self.root = world.root
        self.layout = world.output / "production"
        self.provenance = provenance_path(self.layout)

    def verify(self, **options: Any) -> Verification:
        beside = evidence_beside(self.layout, "production", BOTH)
        return verify_layout(self.layout, beside, read_settings(self.root), **options)

    def sbom(self, kind: str = "cdx.json") -> Path:
        return self.layout.parent / f"production-linux-arm64.{kind}"

    def index(self) -> Any:
        return json.loads((self.layout / "index.json").read_bytes())

    def blob(self, digest: str) -> Path:
        return blob_path(self.layout, digest)

    def put(self, document: Any) -> dict[str, Any]:
        """Store a document under its digest; return its digest and size."""
        data = canonical(document)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blob(digest).write_bytes(data)
        return {"digest": digest, "size": len(data)}

    def rebuilt(self, change: Callable[[Any, Any], None]) -> None:
        """Change arm64's manifest and configuration, and whatever names them, consistently."""
        index = self.index()
        top = json.loads(self.blob(index["manifests"][0]["digest"]).read_bytes())
        manifest = json.loads(self.blob(top["manifests"][1]["digest"]).read_bytes())
        config = json.loads(self.blob(manifest["config"]["digest"]).read_bytes())
        change(manifest, config)
        manifest["config"] |= self.put(config)
        top["manifests"][1] |= self.put(manifest)
        index["manifests"][0] |= self.put(top)
        (self.layout / "index.json").write_bytes(canonical(index))
        shutil.rmtree(self.layout / "linux-arm64")

    def edit_provenance(self, change: Callable[[Any], None]) -> None:
        edit(self.provenance, change)


def edit(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


@pytest.fixture
def shelf(world: World) -> Shelf:
    world.description = world.description.replace(
        "[labels]\n", '[labels]\n"org.opencontainers.image.version" = "1.0.0"\n'
    )
    write_files(world)
    world.fill_cache()
    options = {"revision": Revision(COMMIT, 1_750_000_000)}
    report = world.build(**options)
    plan = replace(world.plan(**options), settings=read_settings(world.root))
    write_provenance(report, plan, Inputs(world.root / LOCK, world.root, Format.OCI, None, {}))
    request = SbomRequest(formats=["cyclonedx,spdx"], images=world.output)
    make_sboms(request, Silent(), root=world.root)
    return Shelf(world)


def outcomes(found: Verification) -> dict[str, Outcome]:
    return {check.name: check.outcome for check in found.checks}


def test_what_is_as_it_should_be_is_verified(shelf: Shelf) -> None:
    found = shelf.verify()
    assert {check.outcome for check in found.checks} == {Outcome.VERIFIED}
    assert {"digests", "provenance", "lock", "SBOM linux/amd64", "SBOM linux/arm64"} == set(
        outcomes(found)
    )
    found.raise_for(["provenance", "lock", "sbom"])


# Tamperings: each changes one thing as cleverly as can be without the rest.


def flip_layer(shelf: Shelf) -> None:
    path = layer_of(shelf)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def shorten_layer(shelf: Shelf) -> None:
    layer_of(shelf).write_bytes(layer_of(shelf).read_bytes()[:-1])


def remove_layer(shelf: Shelf) -> None:
    layer_of(shelf).unlink()


def layer_of(shelf: Shelf) -> Path:
    return shelf.blob(open_layout(shelf.layout).images[1].layers[-1].digest)


def edit_config(shelf: Shelf) -> None:
    path = shelf.blob(open_layout(shelf.layout).images[1].config.descriptor.digest)
    edit(path, lambda document: document["config"].update(User="0"))


def edit_manifest(shelf: Shelf) -> None:
    path = shelf.blob(open_layout(shelf.layout).images[1].manifest.descriptor.digest)
    edit(path, lambda document: document["layers"].pop())


def edit_index(shelf: Shelf) -> None:
    path = shelf.blob(shelf.index()["manifests"][0]["digest"])
    edit(path, lambda document: document["manifests"].reverse())


def size_in_the_layout(shelf: Shelf) -> None:
    edit(shelf.layout / "index.json", lambda document: document["manifests"][0].update(size=7))


def another_image_in_a_view(shelf: Shelf) -> None:
    view = shelf.layout / "linux-arm64" / "index.json"
    shutil.copy(shelf.layout / "linux-amd64" / "index.json", view)


def two_images(shelf: Shelf) -> None:
    edit(shelf.layout / "index.json", lambda d: d["manifests"].append(d["manifests"][0]))


def unpacks_to_something_else(shelf: Shelf) -> None:
    def change(manifest: Any, config: Any) -> None:
        layer = manifest["layers"][-1]
        data = gzip.compress(
            gzip.decompress(shelf.blob(layer["digest"]).read_bytes()) + b"\0" * 512
        )
        layer.update(digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size=len(data))
        shelf.blob(layer["digest"]).write_bytes(data)

    shelf.rebuilt(change)


def platforms_swapped(shelf: Shelf) -> None:
    index = shelf.index()
    top = json.loads(shelf.blob(index["manifests"][0]["digest"]).read_bytes())
    one, other = top["manifests"]
    one["platform"], other["platform"] = other["platform"], one["platform"]
    index["manifests"][0] |= shelf.put(top)
    (shelf.layout / "index.json").write_bytes(canonical(index))


def rebuilt_as_root(shelf: Shelf) -> None:
    shelf.rebuilt(lambda _manifest, config: config["config"].update(User="0"))


def subject_replaced(shelf: Shelf) -> None:
    shelf.edit_provenance(lambda d: d["subject"][0]["digest"].update(sha256="0" * 64))


def platform_s_subject_removed(shelf: Shelf) -> None:
    shelf.edit_provenance(lambda d: d["subject"].pop())


def another_type_of_statement(shelf: Shelf) -> None:
    shelf.edit_provenance(lambda d: d.update(predicateType="https://example.org/other"))


def no_statement(shelf: Shelf) -> None:
    shelf.provenance.write_text("[]")


def cut_off(shelf: Shelf) -> None:
    shelf.provenance.write_bytes(shelf.provenance.read_bytes()[:-9])


def given(document: Any) -> Any:
    return document["predicate"]["buildDefinition"]["externalParameters"]


def dependencies(document: Any) -> Any:
    return document["predicate"]["buildDefinition"]["resolvedDependencies"]


def another_target(shelf: Shelf) -> None:
    shelf.edit_provenance(lambda d: given(d).update(target="base"))


def another_platform(shelf: Shelf) -> None:
    shelf.edit_provenance(lambda d: given(d).update(platforms=["linux/amd64"]))


def another_commit(shelf: Shelf) -> None:
    shelf.edit_provenance(lambda d: dependencies(d)[0]["digest"].update(gitCommit="f" * 40))


def another_time(shelf: Shelf) -> None:
    def change(document: Any) -> None:
        created = {"created": "2001-01-01T00:00:00Z"}
        document["predicate"]["buildDefinition"]["internalParameters"].update(created)

    shelf.edit_provenance(change)


def changed_dependency(name: str) -> Callable[[Shelf], None]:
    def change(document: Any) -> None:
        (found,) = (d for d in dependencies(document) if d["name"] == name)
        found["digest"]["sha256"] = "0" * 64

    return lambda shelf: shelf.edit_provenance(change)


def no_lock(shelf: Shelf) -> None:
    def change(document: Any) -> None:
        dependencies(document)[:] = [d for d in dependencies(document) if d["name"] != str(LOCK)]

    shelf.edit_provenance(change)


def package_left_out(shelf: Shelf) -> None:
    shelf.edit_provenance(lambda d: dependencies(d).pop())


def package_replaced(shelf: Shelf) -> None:
    shelf.edit_provenance(lambda d: dependencies(d)[-1]["digest"].update(sha256="0" * 64))


def sbom(change: Callable[[Any], Any], kind: str = "cdx.json") -> Callable[[Shelf], None]:
    return lambda shelf: edit(shelf.sbom(kind), change)


def component(document: Any) -> Any:
    return next(part for part in document["components"] if part["name"] == "zlib1g")


def sbom_of_the_other_platform(shelf: Shelf) -> None:
    shutil.copy(shelf.layout.parent / "production-linux-amd64.cdx.json", shelf.sbom())


def no_sbom_at_all(shelf: Shelf) -> None:
    shelf.sbom().write_text("{")


TAMPERINGS: dict[str, tuple[Callable[[Shelf], None], str]] = {
    "a byte of a layer": (flip_layer, "digests"),
    "a layer cut off": (shorten_layer, "digests"),
    "a layer removed": (remove_layer, "digests"),
    "a configuration": (edit_config, "digests"),
    "a manifest": (edit_manifest, "digests"),
    "an index": (edit_index, "digests"),
    "a size in the layout": (size_in_the_layout, "digests"),
    "a view of another image": (another_image_in_a_view, "digests"),
    "a second image": (two_images, "digests"),
    "a layer and its digests, not what it unpacks to": (unpacks_to_something_else, "digests"),
    "platforms swapped": (platforms_swapped, "digests"),
    "another image, consistent in itself": (rebuilt_as_root, "provenance"),
    "another subject": (subject_replaced, "provenance"),
    "a platform's subject removed": (platform_s_subject_removed, "provenance"),
    "another type of statement": (another_type_of_statement, "provenance"),
    "a statement that is none": (no_statement, "provenance"),
    "a statement cut off": (cut_off, "provenance"),
    "another target": (another_target, "provenance"),
    "another platform": (another_platform, "provenance"),
    "another commit": (another_commit, "provenance"),
    "another time": (another_time, "provenance"),
    "another lock": (changed_dependency(str(LOCK)), "lock"),
    "no lock": (no_lock, "lock"),
    "a package left out": (package_left_out, "lock"),
    "a package replaced": (package_replaced, "lock"),
    "a package's version in the SBOM": (
        sbom(lambda d: component(d).update(version="9")),
        "SBOM linux/arm64",
    ),
    "a package's digest in the SBOM": (
        sbom(lambda d: component(d)["hashes"][0].update(content="0" * 64)),
        "SBOM linux/arm64",
    ),
    "a licence in the SBOM": (
        sbom(lambda d: component(d).pop("licenses")),
        "SBOM linux/arm64",
    ),
    "a package left out of the SBOM": (
        sbom(lambda d: d["components"].remove(component(d))),
        "SBOM linux/arm64",
    ),
    "the SBOM's subject": (
        sbom(lambda d: d["metadata"]["component"].update(version="sha256:" + "0" * 64)),
        "SBOM linux/arm64",
    ),
    "a package of the SPDX document": (
        sbom(lambda d: d["packages"][-1].update(versionInfo="9"), "spdx.json"),
        "SBOM linux/arm64",
    ),
    "the other platform's SBOM": (sbom_of_the_other_platform, "SBOM linux/arm64"),
    "an SBOM that cannot be read": (no_sbom_at_all, "SBOM linux/arm64"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_refused_by_name(shelf: Shelf, name: str) -> None:
    tamper, where = TAMPERINGS[name]
    tamper(shelf)
    found = shelf.verify()
    refused = {check.name for check in found.checks if check.outcome is Outcome.REFUSED}
    assert where in refused
    with pytest.raises(VerificationFailed, match="is not what is said of it"):
        found.raise_for([])


def test_another_digest_than_the_one_that_is_wanted_is_refused(shelf: Shelf) -> None:
    right = open_layout(shelf.layout).top.descriptor.digest
    assert outcomes(shelf.verify(digest=right))["digests"] is Outcome.VERIFIED
    assert outcomes(shelf.verify(digest="sha256:" + "0" * 64))["digests"] is Outcome.REFUSED


def test_an_image_that_the_lock_does_not_name_is_refused_without_provenance(
    shelf: Shelf, world: World
) -> None:
    shelf.provenance.unlink()
    assert outcomes(shelf.verify())["lock"] is Outcome.VERIFIED
    world.wheels.pop()
    write_files(world)
    assert outcomes(shelf.verify())["lock"] is Outcome.REFUSED


def test_what_is_not_there_is_said_and_can_be_required(shelf: Shelf) -> None:
    found = verify_layout(shelf.layout, Evidence(), read_settings(shelf.root))
    assert outcomes(found) == {
        "digests": Outcome.VERIFIED,
        "provenance": Outcome.NOT_VERIFIED,
        "lock": Outcome.VERIFIED,
        "SBOM linux/amd64": Outcome.NOT_VERIFIED,
        "SBOM linux/arm64": Outcome.NOT_VERIFIED,
    }
    found.raise_for(["lock"])
    for word in ("provenance", "sbom", "signature"):
        with pytest.raises(NotVerified, match=f"{word} is required"):
            found.raise_for([word])


def test_a_refusal_names_the_first_reason_and_counts_the_rest() -> None:
    wrong = Check("lock", Outcome.REFUSED, "other packages")
    with pytest.raises(VerificationFailed, match=r"lock: other packages \(and 1 more\)"):
        Verification("x", "", (wrong, wrong)).raise_for([])


# In a registry.


@pytest.fixture
def remote(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyRegistry]:
    monkeypatch.setattr(commands, "ROOT", shelf.root)
    monkeypatch.setenv("HOME", str(shelf.root))
    with FaultyRegistry() as registry:
        place = f"{registry.host}/owner"
        request = PushRequest(tags=["v1.0.0"], registry=place, images=shelf.layout.parent)
        push(request, Silent(), environ={"HOME": str(shelf.root)})
        yield registry


def at(remote: FaultyRegistry, suffix: str = ":v1.0.0") -> Verification:
    return verify(VerifyRequest(f"{remote.host}/owner/mini{suffix}"), Silent())


def test_what_was_pushed_is_verified(remote: FaultyRegistry) -> None:
    found = outcomes(at(remote))
    for name in ("tag", "digests", "provenance", "lock", "SBOM linux/amd64", "SBOM linux/arm64"):
        assert found[name] is Outcome.VERIFIED


def test_a_tag_that_moved_is_refused(remote: FaultyRegistry, shelf: Shelf) -> None:
    content = remote.content["owner/mini"]
    was = content.tags["v1.0.0"]
    content.tags["v1.0.0"] = open_layout(shelf.layout).images[0].manifest.descriptor.digest
    assert outcomes(at(remote, f":v1.0.0@{was}"))["tag"] is Outcome.REFUSED


@pytest.mark.parametrize("tag", ["sha-fffffff", "v9.9.9", "9.9.9-production"])
def test_a_tag_that_spells_another_version_or_commit_is_refused(
    remote: FaultyRegistry, tag: str
) -> None:
    content = remote.content["owner/mini"]
    content.tags[tag] = content.tags["v1.0.0"]
    assert outcomes(at(remote, f":{tag}"))["tag"] is Outcome.REFUSED


def test_a_tag_that_spells_the_commit_is_verified(remote: FaultyRegistry) -> None:
    content = remote.content["owner/mini"]
    content.tags[f"sha-{COMMIT[:7]}"] = content.tags["v1.0.0"]
    assert outcomes(at(remote, f":sha-{COMMIT[:7]}"))["tag"] is Outcome.VERIFIED


def test_a_tag_that_spells_nothing_is_not_verified(remote: FaultyRegistry) -> None:
    content = remote.content["owner/mini"]
    content.tags["main"] = content.tags["v1.0.0"]
    assert outcomes(at(remote, ":main"))["tag"] is Outcome.NOT_VERIFIED
    was = content.tags["main"]
    assert outcomes(at(remote, f":main@{was}"))["tag"] is Outcome.VERIFIED


def test_a_layout_that_is_damaged_is_a_refusal_and_no_traceback(shelf: Shelf) -> None:
    edit_manifest(shelf)
    found = verify(VerifyRequest(str(shelf.layout)), Silent())
    with pytest.raises(VerificationFailed, match="digests"):
        found.raise_for([])


def test_what_an_sbom_says_of_its_tool_may_differ(shelf: Shelf) -> None:
    edit(shelf.sbom(), lambda d: d["metadata"]["tools"]["components"][0].update(version="other"))
    assert outcomes(shelf.verify())["SBOM linux/arm64"] is Outcome.VERIFIED


def test_a_commit_that_is_an_option_never_reaches_git(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(_root: Path, *arguments: str) -> str:
        pytest.fail(f"git {arguments}")

    monkeypatch.setattr(provenance, "git", git)
    option = "--output=x"
    shelf.rebuilt(
        lambda _manifest, config: config["config"]["Labels"].update(
            {"org.opencontainers.image.revision": option}
        )
    )

    def change(document: Any) -> None:
        dependencies = document["predicate"]["buildDefinition"]["resolvedDependencies"]
        dependencies[0]["digest"]["gitCommit"] = option
        for dependency in dependencies:
            if dependency.get("name") == str(LOCK):
                dependency["digest"]["sha256"] = "0" * 64
        image = open_layout(shelf.layout)
        digests = [image.top.descriptor.digest]
        digests += [part.manifest.descriptor.digest for part in image.images]
        document["subject"] = [
            {"name": "x", "digest": {"sha256": digest.removeprefix("sha256:")}}
            for digest in digests
        ]

    shelf.edit_provenance(change)
    found = shelf.verify()
    assert outcomes(found)["provenance"] is Outcome.REFUSED
    assert any(f"the commit '{option}', and that is none" in c.detail for c in found.checks)


def test_a_lock_of_the_commit_that_the_provenance_names_will_do(
    shelf: Shelf, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = {name: (shelf.root / name).read_text() for name in (str(LOCK), str(DESCRIPTION))}
    then["pyproject.toml"] = (shelf.root / "pyproject.toml").read_text()
    asked: list[str] = []

    def git(_root: Path, *arguments: str) -> str:
        asked.append(arguments[-1])
        commit, _, name = arguments[-1].partition(":")
        return then[name] if commit == COMMIT else ""

    world.wheels.pop()
    write_files(world)
    assert outcomes(shelf.verify())["lock"] is Outcome.REFUSED
    monkeypatch.setattr(provenance, "git", git)
    assert outcomes(shelf.verify())["lock"] is Outcome.VERIFIED
    assert f"{COMMIT}:{LOCK}" in asked


# What is not there yet.


class Waiting:
    """Time that passes by sleeping alone, and what happens meanwhile."""

    def __init__(self, appears: Callable[[], None], after_s: float) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []
        self.said: list[str] = []
        self._appears, self._at_s = appears, self.now_s + after_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        if self.now_s >= self._at_s:
            self._appears()

    def verify(self, remote: FaultyRegistry, wait_s: float) -> Verification:
        waiting = self

        class Hears(Silent):
            def say(self, text: str) -> None:
                waiting.said.append(text)

        return verify(
            VerifyRequest(f"{remote.host}/owner/mini:v1.0.0", wait_s=wait_s),
            Hears(),
            clock=Clock(lambda: self.now_s, self.sleep),
        )


def test_what_is_not_there_yet_is_waited_for(remote: FaultyRegistry) -> None:
    tags = remote.content["owner/mini"].tags
    digest = tags.pop("v1.0.0")
    waiting = Waiting(lambda: tags.update({"v1.0.0": digest}), after_s=40)
    found = waiting.verify(remote, 3600)
    assert (found.digest, outcomes(found)["tag"]) == (digest, Outcome.VERIFIED)
    assert waiting.slept == [15, 15, 15]
    assert len(waiting.said) == 3
    assert waiting.said[0].endswith(
        "/owner/mini:v1.0.0 is not there yet: asked again for 3600 s more"
    )


def test_waiting_ends(remote: FaultyRegistry) -> None:
    remote.content["owner/mini"].tags.clear()
    waiting = Waiting(lambda: None, after_s=0)
    with pytest.raises(NotInRegistry, match="and was not after 40 s"):
        waiting.verify(remote, 40)
    assert waiting.slept == [15, 15, 10]
    waiting = Waiting(lambda: None, after_s=0)
    with pytest.raises(NotInRegistry):
        waiting.verify(remote, 0)
    assert waiting.slept == []


def test_nobody_waits_for_what_is_there_or_is_a_folder(
    remote: FaultyRegistry, shelf: Shelf
) -> None:
    waiting = Waiting(lambda: None, after_s=0)
    waiting.verify(remote, 3600)
    assert waiting.slept == []
    with pytest.raises(OptionInvalid, match="--wait is for a registry"):
        verify(VerifyRequest(str(shelf.layout), wait_s=60), Silent())


@pytest.mark.parametrize("pushed_to", [True, False])
def test_credentials_are_for_the_registry_that_images_go_to(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, pushed_to: bool
) -> None:
    monkeypatch.setattr(commands, "ROOT", shelf.root)
    with FaultyRegistry(users={"me": "secret"}) as guarded:
        environ = {
            "HOME": str(shelf.root),
            "REGISTRY_USERNAME": "me",
            "REGISTRY_PASSWORD": "secret",
        }
        place = f"{guarded.host}/owner"
        request = PushRequest(tags=["v1.0.0"], registry=place, images=shelf.layout.parent)
        push(request, Silent(), environ=environ)
        environ["ACCELERAPP_REGISTRY"] = place if pushed_to else "r.example/owner"
        asked = VerifyRequest(f"{place}/mini:v1.0.0")
        if pushed_to:
            found = verify(asked, Silent(), environ=environ)
            assert outcomes(found)["provenance"] is Outcome.VERIFIED
            return
        with pytest.raises(CredentialsRejected):
            verify(asked, Silent(), environ=environ)


def test_a_repository_that_a_registry_denies_may_still_come(
    remote: FaultyRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, denied = at(remote), [True]
    ask = Registry.get_manifest

    def get_manifest(registry: Registry, reference: Reference) -> Document:
        if denied[0]:
            raise AccessDenied("this repository is not for you")
        return ask(registry, reference)

    monkeypatch.setattr(Registry, "get_manifest", get_manifest)
    waiting = Waiting(lambda: denied.__setitem__(0, False), after_s=20)
    assert waiting.verify(remote, 60).digest == found.digest
    denied[0] = True
    with pytest.raises(AccessDenied, match="not for you, and was not after 10 s"):
        Waiting(lambda: None, after_s=0).verify(remote, 10)
