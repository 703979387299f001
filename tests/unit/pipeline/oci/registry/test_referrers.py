"""What is attached is found again, whether the registry lists referrers or a tag does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pipeline.errors import RegistryCorrupt, RegistryRefused, TooLargeForRegistry
from pipeline.oci.image import Descriptor, Format, document_of
from pipeline.oci.registry.client import Patience, Registry
from pipeline.oci.registry.reference import Repository
from pipeline.oci.registry.referrers import (
    ARTIFACT_BYTES,
    EMPTY,
    Artifact,
    Referrer,
    attach,
    fallback_tag,
    fetch,
    list_referrers,
)
from tests.unit.pipeline.oci.registry.faulty_registry import FaultyRegistry, error

OCI = Format.OCI
NAME = "o/app"
IMAGE = document_of(json.dumps({"schemaVersion": 2}).encode(), OCI.manifest_type)
CREATED = "2026-01-01T00:00:00Z"
SBOM = Artifact("application/vnd.cyclonedx+json", b'{"bom": 1}', "a.cdx.json", CREATED)
STATEMENT = Artifact("application/vnd.in-toto+json", b'{"_type": 1}', "a.provenance.json")


@pytest.fixture(params=[True, False], ids=["listed", "tagged"])
def remote(request: pytest.FixtureRequest) -> Iterator[FaultyRegistry]:
    with FaultyRegistry(lists_referrers=request.param) as registry:
        registry.put_manifest(NAME, IMAGE.data, OCI.manifest_type, "1")
        yield registry


@pytest.fixture
def client() -> Iterator[Registry]:
    patience = Patience(attempts=4, read_timeout_s=5, sleep=lambda _: None)
    with Registry(credentials=lambda _: None, patience=patience) as registry:
        yield registry


def place(remote: FaultyRegistry) -> Repository:
    return Repository(remote.host, NAME)


def test_what_is_attached_is_listed_and_fetched(remote: FaultyRegistry, client: Registry) -> None:
    digests = [attach(client, place(remote), IMAGE.descriptor, a) for a in (SBOM, STATEMENT)]
    found = list_referrers(client, place(remote), IMAGE.descriptor.digest)
    assert {(r.digest, r.type) for r in found} == set(
        zip(digests, (SBOM.type, STATEMENT.type), strict=True)
    )
    by_type = {r.type: r for r in found}
    for artifact in (SBOM, STATEMENT):
        referrer = by_type[artifact.type]
        assert fetch(client, place(remote), IMAGE.descriptor.digest, referrer) == artifact.data
    assert by_type[SBOM.type].annotations == {"org.opencontainers.image.created": SBOM.created}


def test_attaching_again_changes_nothing(remote: FaultyRegistry, client: Registry) -> None:
    first = attach(client, place(remote), IMAGE.descriptor, SBOM)
    before = dict(remote.content[NAME].manifests), dict(remote.content[NAME].tags)
    assert attach(client, place(remote), IMAGE.descriptor, SBOM) == first
    assert (remote.content[NAME].manifests, remote.content[NAME].tags) == before


def test_only_a_registry_that_lists_nothing_gets_a_tag(
    remote: FaultyRegistry, client: Registry
) -> None:
    attach(client, place(remote), IMAGE.descriptor, SBOM)
    tag = fallback_tag(IMAGE.descriptor.digest)
    assert tag == IMAGE.descriptor.digest.replace(":", "-")
    assert (tag in remote.content[NAME].tags) != remote.lists_referrers


def test_nothing_refers_to_what_nobody_attached_to(
    remote: FaultyRegistry, client: Registry
) -> None:
    assert list_referrers(client, place(remote), IMAGE.descriptor.digest) == ()


def test_the_manifest_is_as_the_specification_says() -> None:
    document = SBOM.manifest(IMAGE.descriptor)
    body = json.loads(document.data)
    assert body == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": SBOM.type,
        "config": {**EMPTY.descriptor.to_json(), "size": 2},
        "layers": [
            {
                "mediaType": SBOM.type,
                "digest": SBOM.blob.digest,
                "size": len(SBOM.data),
                "annotations": {"org.opencontainers.image.title": "a.cdx.json"},
            }
        ],
        "subject": IMAGE.descriptor.to_json(),
        "annotations": {"org.opencontainers.image.created": CREATED},
    }
    # The digest that the specification prints for the empty descriptor.
    assert EMPTY.descriptor.digest == (
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )


def test_several_at_once_lose_nothing(client: Registry) -> None:
    artifacts = [replace(SBOM, data=f"{{{n}}}".encode()) for n in range(3)]
    with FaultyRegistry() as remote, ThreadPoolExecutor(3) as pool:
        remote.put_manifest(NAME, IMAGE.data, OCI.manifest_type)
        work = [pool.submit(attach, client, place(remote), IMAGE.descriptor, a) for a in artifacts]
        digests = {done.result() for done in work}
        for artifact in artifacts:  # Whoever lost a race finds so, and adds itself again.
            attach(client, place(remote), IMAGE.descriptor, artifact)
        found = list_referrers(client, place(remote), IMAGE.descriptor.digest)
        assert {r.digest for r in found} == digests


def test_a_list_that_fails_is_no_empty_one(client: Registry) -> None:
    with FaultyRegistry(lists_referrers=True) as remote:
        remote.fault("GET", error(403, "DENIED"))
        with pytest.raises(Exception, match="denies listing what refers"):
            list_referrers(client, place(remote), IMAGE.descriptor.digest)


def test_a_tag_that_is_something_else_is_no_list(client: Registry) -> None:
    with FaultyRegistry() as remote:
        tag = fallback_tag(IMAGE.descriptor.digest)
        remote.put_manifest(NAME, IMAGE.data, OCI.manifest_type, tag)
        with pytest.raises(RegistryRefused, match="is not a list of what refers"):
            list_referrers(client, place(remote), IMAGE.descriptor.digest)


def planted(remote: FaultyRegistry, body: object, **changes: object) -> Referrer:
    data = json.dumps(body).encode()
    digest = remote.put_manifest(NAME, data, OCI.manifest_type)
    return replace(Referrer(digest, len(data), SBOM.type), **changes)  # type: ignore[arg-type]


def test_what_refers_to_another_image_is_refused(remote: FaultyRegistry, client: Registry) -> None:
    other = Descriptor(OCI.manifest_type, "sha256:" + "0" * 64, 1)
    referrer = planted(remote, json.loads(SBOM.manifest(other).data))
    with pytest.raises(RegistryCorrupt, match=r"is listed for .* and refers to sha256:0000"):
        fetch(client, place(remote), IMAGE.descriptor.digest, referrer)


def test_what_is_of_another_type_is_refused(remote: FaultyRegistry, client: Registry) -> None:
    referrer = planted(remote, json.loads(STATEMENT.manifest(IMAGE.descriptor).data))
    with pytest.raises(RegistryCorrupt, match=r"is listed as application/vnd\.cyclonedx"):
        fetch(client, place(remote), IMAGE.descriptor.digest, referrer)


@pytest.mark.parametrize("layers", [[], [1, 2], "x", [{"digest": "no", "size": 1}]])
def test_what_is_no_artifact_is_refused(
    remote: FaultyRegistry, client: Registry, layers: object
) -> None:
    body = json.loads(SBOM.manifest(IMAGE.descriptor).data)
    referrer = planted(remote, {**body, "layers": layers})
    with pytest.raises(Exception, match=r"no artifact|not a digest"):
        fetch(client, place(remote), IMAGE.descriptor.digest, referrer)


def test_what_is_far_too_large_is_not_read(remote: FaultyRegistry, client: Registry) -> None:
    body = json.loads(SBOM.manifest(IMAGE.descriptor).data)
    body["layers"][0]["size"] = ARTIFACT_BYTES + 1
    with pytest.raises(TooLargeForRegistry):
        fetch(client, place(remote), IMAGE.descriptor.digest, planted(remote, body))


def test_other_bytes_are_refused(remote: FaultyRegistry, client: Registry) -> None:
    attach(client, place(remote), IMAGE.descriptor, SBOM)
    remote.content[NAME].blobs[SBOM.blob.digest] = b'{"bom": 2}'
    (referrer,) = list_referrers(client, place(remote), IMAGE.descriptor.digest)
    with pytest.raises(RegistryCorrupt):
        fetch(client, place(remote), IMAGE.descriptor.digest, referrer)
