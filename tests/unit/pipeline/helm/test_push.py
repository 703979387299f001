"""A chart reaches a registry as helm would bring it there, once for each version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import NameInvalid, RegistryRefused, VersionTaken
from pipeline.helm.chart import read_chart
from pipeline.helm.package import chart_archive
from pipeline.helm.push import ChartCargo, ChartReport, chart_cargo, push_chart, survey_chart
from pipeline.oci.registry.reference import Repository
from pipeline.push import Fate, TagMove
from pipeline.report import Silent
from tests.unit.pipeline.helm.chart_factory import CHART_YAML, make_chart
from tests.unit.pipeline.oci.registry.faulty_registry import FaultyRegistry, error
from tests.unit.pipeline.shipments import client

NAME = "owner/charts/demo"
EPOCH_S = 1_700_000_000
CREATED = "2023-11-14T22:13:20Z"
CONFIG = "application/vnd.cncf.helm.config.v1+json"
LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI = "org.opencontainers.image."


@pytest.fixture
def remote() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_chart(tmp_path / "demo")


def cargo(remote: FaultyRegistry, folder: Path, epoch_s: int = EPOCH_S) -> ChartCargo:
    return chart_cargo(read_chart(folder), epoch_s, Repository(remote.host, NAME))


def push(remote: FaultyRegistry, folder: Path, epoch_s: int = EPOCH_S) -> ChartReport:
    with client(remote) as registry:
        return push_chart(cargo(remote, folder, epoch_s), registry, Silent())


def survey(remote: FaultyRegistry, folder: Path, epoch_s: int = EPOCH_S) -> ChartReport:
    with client(remote) as registry:
        return survey_chart(cargo(remote, folder, epoch_s), registry)


def writes(remote: FaultyRegistry) -> list[str]:
    """Return the requests that change something."""
    return [said for said in remote.said() if not said.startswith(("GET", "HEAD"))]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def annotations(remote: FaultyRegistry, tmp_path: Path, more: str) -> dict[str, str]:
    made = cargo(remote, make_chart(tmp_path / "said", CHART_YAML + more))
    said: dict[str, str] = json.loads(made.manifest.data)["annotations"]
    return said


# What arrives.


def test_a_chart_arrives_as_helm_keeps_it(remote: FaultyRegistry, folder: Path) -> None:
    report = push(remote, folder)
    archive = chart_archive(read_chart(folder), EPOCH_S)
    config = b'{"apiVersion":"v2","name":"demo","version":"0.1.0"}'
    content = remote.content[NAME]
    assert content.blobs == {digest_of(archive): archive, digest_of(config): config}
    ((digest, (media_type, data)),) = content.manifests.items()
    assert media_type == MANIFEST
    assert json.loads(data) == {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": digest_of(archive), "size": len(archive)}],
        "annotations": {
            f"{OCI}title": "demo",
            f"{OCI}version": "0.1.0",
            f"{OCI}created": CREATED,
        },
    }
    assert content.tags == {"0.1.0": digest}
    assert report.digest == digest
    assert report.reference == f"{remote.host}/{NAME}@{digest}"


def test_the_blobs_go_before_the_manifest(remote: FaultyRegistry, folder: Path) -> None:
    push(remote, folder)
    said = writes(remote)
    assert said[-1] == f"PUT /v2/{NAME}/manifests/0.1.0"
    assert [line for line in said if "/manifests/" in line] == said[-1:]
    assert sum("digest=" in line for line in said) == 2


def test_a_plus_is_an_underscore_in_the_tag_alone(remote: FaultyRegistry, tmp_path: Path) -> None:
    text = CHART_YAML.replace("0.1.0", "0.1.0-rc.1+build.5")
    report = push(remote, make_chart(tmp_path, text))
    assert set(remote.content[NAME].tags) == {"0.1.0-rc.1_build.5"}
    assert report.tag.tag == "0.1.0-rc.1_build.5"
    place = f"oci://{remote.host}/{NAME}"
    assert report.install == (
        *("helm", "install", "demo", place, "--version", "0.1.0-rc.1+build.5"),
    )
    (manifest,) = remote.content[NAME].manifests.values()
    assert json.loads(manifest[1])["annotations"][f"{OCI}version"] == "0.1.0-rc.1+build.5"


def test_a_version_that_no_tag_can_hold_is_refused(remote: FaultyRegistry, tmp_path: Path) -> None:
    make_chart(tmp_path, CHART_YAML.replace("0.1.0", "0.1.0-" + "a" * 123))
    with pytest.raises(NameInvalid, match="is not a tag"):
        cargo(remote, tmp_path)
    make_chart(tmp_path, CHART_YAML.replace("0.1.0", "0.1.0-" + "a" * 122))
    assert len(cargo(remote, tmp_path).tag) == 128


def test_the_configuration_holds_what_helm_knows_of_chart_yaml(
    remote: FaultyRegistry, tmp_path: Path
) -> None:
    more = (
        "type: application\nappVersion: '1'\nkeywords: []\ndescription:\nown: x\n"
        "deprecated: true\ndependencies: [{name: a, condition: a.on, import-values: [b]}]\n"
    )
    files = {"charts/a/Chart.yaml": ""}
    made = cargo(remote, make_chart(tmp_path, CHART_YAML + more, files))
    assert json.loads(made.config.data) == {
        "apiVersion": "v2",
        "name": "demo",
        "version": "0.1.0",
        "type": "application",
        "appVersion": "1",
        "deprecated": True,
        "dependencies": [{"name": "a", "condition": "a.on", "import-values": ["b"]}],
    }


def test_annotations_are_those_of_helm(remote: FaultyRegistry, tmp_path: Path) -> None:
    more = """\
description: A <chart> & more
home: https://home.example
sources: [https://one.example, https://two.example]
maintainers:
  - {name: Ann, email: ann@home.example, url: https://ann.example}
  - name: Bob
annotations: {licenses: MIT}
"""
    assert annotations(remote, tmp_path, more) == {
        "licenses": "MIT",
        f"{OCI}title": "demo",
        f"{OCI}version": "0.1.0",
        f"{OCI}created": CREATED,
        f"{OCI}description": "A <chart> & more",
        f"{OCI}url": "https://home.example",
        f"{OCI}source": "https://one.example",
        f"{OCI}authors": "Ann (ann@home.example), Bob",
    }


def test_a_chart_may_annotate_all_but_what_it_is(remote: FaultyRegistry, tmp_path: Path) -> None:
    more = (
        f"home: ' '\ndescription: ' '\nannotations:\n  {OCI}title: x\n  {OCI}version: x\n"
        f"  {OCI}url: https://own.example\n"
    )
    assert annotations(remote, tmp_path, more) == {
        f"{OCI}title": "demo",
        f"{OCI}version": "0.1.0",
        f"{OCI}created": CREATED,
        f"{OCI}url": "https://own.example",
    }


# What is there.


def test_what_is_there_is_not_sent_again(remote: FaultyRegistry, folder: Path) -> None:
    first = push(remote, folder)
    remote.requests.clear()
    again = push(remote, folder)
    assert set(remote.methods()) == {"HEAD"}
    assert (first.fate, again.fate) == (Fate.SENT, Fate.EXISTS)
    assert [blob.fate for blob in first.blobs] == [Fate.SENT] * 2
    assert [blob.fate for blob in again.blobs] == [Fate.EXISTS] * 2
    assert again.digest == first.digest
    assert first.tag == TagMove("0.1.0", None, first.digest)
    assert again.tag == TagMove("0.1.0", first.digest, first.digest)
    sizes = [len(data) for data in remote.content[NAME].blobs.values()]
    assert first.bytes_sent == sum(sizes)
    assert again.bytes_sent == again.bytes_to_send == 0


def test_a_blob_that_is_there_is_not_sent(remote: FaultyRegistry, folder: Path) -> None:
    digest = remote.put_blob(NAME, cargo(remote, folder).archive.data)
    report = push(remote, folder)
    assert [blob.fate for blob in report.blobs] == [Fate.EXISTS, Fate.SENT]
    assert remote.said().count(f"HEAD /v2/{NAME}/blobs/{digest}") == 1
    assert not [said for said in writes(remote) if f"digest={digest.replace(':', '%3A')}" in said]
    assert sum("digest=" in said for said in writes(remote)) == 1


def test_a_blob_that_vanished_below_the_version_is_sent_again(
    remote: FaultyRegistry, folder: Path
) -> None:
    report = push(remote, folder)
    lost = report.blobs[0].digest
    del remote.content[NAME].blobs[lost]
    remote.requests.clear()
    again = push(remote, folder)
    assert lost in remote.content[NAME].blobs
    assert [blob.fate for blob in again.blobs] == [Fate.SENT, Fate.EXISTS]
    assert again.fate is Fate.EXISTS
    assert not [said for said in writes(remote) if "/manifests/" in said]


@pytest.mark.parametrize("change", ["content", "time"])
@pytest.mark.parametrize("by", [push, survey])
def test_a_version_that_names_other_content_is_left_alone(
    remote: FaultyRegistry, folder: Path, change: str, by: Any
) -> None:
    there = push(remote, folder).digest
    if change == "content":
        (folder / "values.yaml").write_text("a: 2\n")
    epoch_s = EPOCH_S + (change == "time")
    here = cargo(remote, folder, epoch_s).manifest.descriptor.digest
    remote.requests.clear()
    with pytest.raises(VersionTaken) as taken:
        by(remote, folder, epoch_s)
    assert str(taken.value) == (
        f"{remote.host}/{NAME}:0.1.0 is in the registry with other content: {there}, here it is "
        f"{here}; raise the version in Chart.yaml, or delete that one there"
    )
    assert writes(remote) == []
    assert remote.content[NAME].tags == {"0.1.0": there}


def test_another_version_stands_beside_the_first(remote: FaultyRegistry, folder: Path) -> None:
    first = push(remote, folder)
    make_chart(folder, CHART_YAML.replace("0.1.0", "0.2.0"))
    second = push(remote, folder)
    assert remote.content[NAME].tags == {"0.1.0": first.digest, "0.2.0": second.digest}


def test_a_push_that_was_cut_off_leaves_no_version_and_goes_on(
    remote: FaultyRegistry, folder: Path
) -> None:
    remote.fault("PUT", error(400, "UNSUPPORTED"), path="/manifests/")
    with pytest.raises(RegistryRefused):
        push(remote, folder)
    assert remote.content[NAME].tags == {}
    remote.requests.clear()
    report = push(remote, folder)
    assert writes(remote) == [f"PUT /v2/{NAME}/manifests/0.1.0"]
    assert report.fate is Fate.SENT
    assert report.bytes_sent == 0


# Looking without touching.


def test_a_survey_asks_and_sends_nothing(remote: FaultyRegistry, folder: Path) -> None:
    planned = survey(remote, folder)
    assert set(remote.methods()) == {"HEAD"}
    assert planned.fate is Fate.WOULD_SEND
    assert [blob.fate for blob in planned.blobs] == [Fate.WOULD_SEND] * 2
    done = push(remote, folder)
    assert planned.digest == done.digest
    assert planned.bytes_to_send == done.bytes_sent > 0
    assert planned.bytes_sent == 0


def test_a_report_can_be_read_by_programs(remote: FaultyRegistry, folder: Path) -> None:
    report = push(remote, folder)
    document = report.to_json()
    seconds = document.pop("seconds")
    assert seconds == round(report.seconds, 3) > 0
    archive, config = report.blobs
    assert json.loads(json.dumps(document)) == {
        "name": "demo",
        "version": "0.1.0",
        "repository": f"{remote.host}/{NAME}",
        "digest": report.digest,
        "reference": f"{remote.host}/{NAME}@{report.digest}",
        "manifest": "sent",
        "tag": {"tag": "0.1.0", "before": None, "after": report.digest},
        "blobs": [
            {"digest": archive.digest, "size_bytes": archive.size_bytes, "fate": "sent"},
            {"digest": config.digest, "size_bytes": config.size_bytes, "fate": "sent"},
        ],
        "bytes_to_send": 0,
        "bytes_sent": archive.size_bytes + config.size_bytes,
        "install": [
            *("helm", "install", "demo", f"oci://{remote.host}/{NAME}", "--version", "0.1.0"),
        ],
    }
