"""The provenance names what a build was made from, in messages that its own project reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage

from pipeline.build import BuildReport
from pipeline.oci.image import Format
from pipeline.oci.layout import open_layout
from pipeline.platforms import Platform
from pipeline.provenance import Inputs, provenance_path, statement, write_provenance
from pipeline.revision import Revision
from tests.unit.pipeline.factories import World

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "owner/name",
    "GITHUB_WORKFLOW_REF": "owner/name/.github/workflows/docker.yml@refs/heads/main",
    "GITHUB_RUN_ID": "12",
    "GITHUB_RUN_ATTEMPT": "2",
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.description = world.description.replace(
        "[labels]\n", '[labels]\n"org.opencontainers.image.source" = "https://example.org/mini"\n'
    )
    (world.root / "images.toml").write_text(world.description)
    (world.root / "images.lock").write_text("{}")
    world.fill_cache()
    return world


def inputs(world: World, **changes: Any) -> Inputs:
    given = Inputs(world.root / "images.lock", world.root, Format.OCI, None, {})
    return replace(given, **changes)


def built(world: World, **options: Any) -> tuple[BuildReport, Any, Any]:
    """Return a build's report, its plan, and the statement beside its layout."""
    options.setdefault("revision", Revision(COMMIT, 1_750_000_000))
    given = inputs(world, environ=options.pop("environ", {}))
    report, plan = world.build(**options), world.plan(**options)
    (path,) = write_provenance(report, plan, given)
    assert path == provenance_path(world.output / "production")
    return report, plan, json.loads(path.read_bytes())


def test_the_statement_is_one_to_its_own_project(world: World) -> None:
    _, _, document = built(world, environ=GITHUB)
    Statement.copy_from_pb(Parse(json.dumps(document), StatementMessage())).validate()
    # Unknown fields are refused.
    Parse(json.dumps(document["predicate"]), Provenance())


def test_the_subjects_are_the_index_and_each_platform(world: World) -> None:
    report, _, document = built(world)
    image = open_layout(world.output / "production")
    digests = [subject["digest"]["sha256"] for subject in document["subject"]]
    assert digests == [
        image.top.descriptor.digest.removeprefix("sha256:"),
        *(p.manifest.descriptor.digest.removeprefix("sha256:") for p in image.images),
    ]
    assert report.images[0].digest == f"sha256:{digests[0]}"
    assert [subject["name"] for subject in document["subject"]][1:] == [
        "mini:production linux/amd64",
        "mini:production linux/arm64",
    ]


def test_an_image_of_one_platform_has_one_subject(world: World) -> None:
    _, _, document = built(world, platforms=(Platform.ARM64,))
    assert len(document["subject"]) == 1


def test_everything_that_went_in_is_named_by_digest(world: World) -> None:
    _, _, document = built(world)
    definition = document["predicate"]["buildDefinition"]
    dependencies = {d["name"]: d for d in definition["resolvedDependencies"]}
    assert dependencies["source"]["digest"] == {"gitCommit": COMMIT}
    assert dependencies["source"]["uri"] == f"git+https://example.org/mini@{COMMIT}"
    assert {"images.toml", "images.lock", world.project.filename} <= dependencies.keys()
    for debs in world.debs.values():
        for package in debs:
            found = dependencies[package.locked.path]
            assert found["digest"] == {"sha256": package.locked.sha256}
    assert dependencies["dep-1.0-py3-none-any.whl"]["uri"] == (
        "pkg:pypi/dep@1.0?file_name=dep-1.0-py3-none-any.whl"
    )
    assert definition["externalParameters"] == {
        "target": "production",
        "platforms": ["linux/amd64", "linux/arm64"],
        "suite": "tiny",
        "format": "oci",
        "engine": "daemonless",
    }


def test_uncommitted_changes_are_said(world: World) -> None:
    _, _, document = built(world, revision=Revision(COMMIT, 1_750_000_000, dirty=True))
    (source, *_) = document["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": COMMIT}
    assert source["annotations"] == {"uncommitted changes": True}


def test_without_version_control_there_is_no_commit(world: World) -> None:
    _, _, document = built(world, revision=Revision())
    dependencies = document["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert "source" not in {d["name"] for d in dependencies}


def test_the_same_build_gives_the_same_bytes(world: World) -> None:
    report, plan, _ = built(world)
    first = statement(report.images[0], plan, inputs(world))
    again, plan, _ = built(world)
    assert statement(again.images[0], plan, inputs(world)) == first


def test_another_lock_gives_another_statement(world: World) -> None:
    report, plan, _ = built(world)
    first = statement(report.images[0], plan, inputs(world))
    (world.root / "images.lock").write_text("{ }")
    assert statement(report.images[0], plan, inputs(world)) != first


def test_the_builder_is_the_workflow_in_github_and_a_machine_elsewhere(world: World) -> None:
    _, _, document = built(world, environ=GITHUB)
    details = document["predicate"]["runDetails"]
    assert details["builder"]["id"].endswith("/docker.yml@refs/heads/main")
    assert details["metadata"] == {
        "invocationId": "https://github.com/owner/name/actions/runs/12/attempts/2"
    }
    _, _, document = built(world)
    details = document["predicate"]["runDetails"]
    assert details["builder"]["id"] == "https://example.org/mini/builders/local"
    assert details["metadata"] == {}


def test_what_a_killed_build_was_writing_is_removed(world: World) -> None:
    world.output.mkdir(parents=True, exist_ok=True)
    leftover = world.output / ".production.provenance.json.x7"
    leftover.write_text("{")
    built(world)
    assert not leftover.exists()
