"""`invoke rebuild`: the claim that an image follows from its recorded inputs, put to the test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.building import Checkout, whole_layout
from tests.integration.shop import NAME, Shop


@pytest.fixture
def built(production: Path, tmp_path: Path) -> Path:
    """Return a layout of this test's own, with its provenance."""
    shutil.copytree(production, tmp_path / "images", symlinks=True)
    return tmp_path / "images" / "production"


def edit(layout: Path, change: Callable[[Any], None]) -> None:
    path = layout.parent / f"{layout.name}.provenance.json"
    document = json.loads(path.read_bytes())
    change(document["predicate"]["buildDefinition"])
    path.write_text(json.dumps(document))


def test_a_layout_is_what_its_commit_gives(
    committed: Checkout, built: Path, tmp_path: Path
) -> None:
    before = committed.invoke("rebuild", built, "--check", "--output", tmp_path / "again")
    assert before.returncode == 0, before.stderr
    assert "the same to the byte" in before.stdout
    assert whole_layout(tmp_path / "again") == whole_layout(built)


def test_an_image_in_a_registry_is_what_its_commit_gives(shop: Shop, production: Path) -> None:
    (pushed,) = shop.push(production, tag="rebuilt")
    report = shop.invoke("rebuild", shop.reference(":rebuilt"), "--check")
    assert report["same"]
    assert report["digest"] == report["rebuilt"] == pushed["digest"]
    assert len(report["platforms"]) == 2
    arm = shop.registry.manifest(NAME, "rebuilt")
    assert arm is not None
    one = shop.reference(f"@{arm[1]['manifests'][1]['digest']}")
    done = shop.checkout.invoke("rebuild", one, "--check")
    assert (done.returncode, "has no provenance" in done.stderr) == (95, True)


def test_an_image_of_other_inputs_differs(committed: Checkout, built: Path, tmp_path: Path) -> None:
    """The record says that the build was given a time that it was not given."""
    edit(built, lambda d: d["internalParameters"].update(SOURCE_DATE_EPOCH=1_000_000_000))
    done = committed.invoke("rebuild", built, "--output", tmp_path / "other")
    assert done.returncode == 0, done.stderr
    assert "not the same" in done.stdout
    done = committed.invoke("rebuild", built, "--check")
    assert done.returncode == 97
    assert len(done.stderr.strip().splitlines()[-1:]) == 1
    assert "Traceback" not in done.stderr
    compared = committed.invoke("diff", built, tmp_path / "other")
    assert "created" in compared.stdout


def other_commit(definition: Any) -> None:
    source = next(d for d in definition["resolvedDependencies"] if "gitCommit" in d["digest"])
    source["digest"]["gitCommit"] = "0" * 40


def dirty(definition: Any) -> None:
    source = next(d for d in definition["resolvedDependencies"] if "gitCommit" in d["digest"])
    source["annotations"] = {"uncommitted changes": True}


def other_lock(definition: Any) -> None:
    for dependency in definition["resolvedDependencies"]:
        if dependency.get("name") == "deployment/images.lock":
            dependency["digest"]["sha256"] = "0" * 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_commit, "commit 000000000000 is not in"),
        (dirty, "uncommitted changes"),
        (other_lock, "names another deployment/images.lock than its commit has"),
        (
            lambda d: d["externalParameters"].update(engine="docker"),
            "'docker' built it, which promises no digest",
        ),
        (lambda d: d["externalParameters"].update(target="nothing"), "cannot be built again"),
    ],
)
def test_what_cannot_be_built_again_is_said(
    committed: Checkout, built: Path, change: Callable[[Any], None], message: str
) -> None:
    edit(built, change)
    done = committed.invoke("rebuild", built, "--check")
    assert done.returncode == 95, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_provenance_of_another_image_is_refused(committed: Checkout, built: Path) -> None:
    path = built.parent / "production.provenance.json"
    document = json.loads(path.read_bytes())
    document["subject"] = document["subject"][1:]
    path.write_text(json.dumps(document))
    done = committed.invoke("rebuild", built, "--check")
    assert done.returncode == 94
    assert "provenance of another image" in done.stderr
    path.write_text("nothing")
    assert committed.invoke("rebuild", built).returncode not in (0, 1)
    path.unlink()
    assert committed.invoke("rebuild", built).returncode == 95


def test_a_folder_that_is_there_is_kept(committed: Checkout, built: Path) -> None:
    done = committed.invoke("rebuild", built, "--output", built)
    assert done.returncode != 0
    assert "is there already" in done.stderr
