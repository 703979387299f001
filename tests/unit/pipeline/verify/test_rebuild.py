"""`invoke rebuild`: how the recorded build is carried out.

Real builds are in the integration tests.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import commands
from pipeline.cache import Cache
from pipeline.errors import ImageInvalid, NotVerified, RebuildDiffers
from pipeline.oci.image import Format
from pipeline.process import Completed
from pipeline.provenance import Inputs, provenance_path, write_provenance
from pipeline.rebuild import RebuildRequest, rebuild
from pipeline.report import Silent
from pipeline.revision import Revision
from pipeline.settings import DESCRIPTION, LOCK, read_settings
from tests.unit.pipeline.factories import World
from tests.unit.pipeline.sbom.conftest import write_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Builder:
    """git that knows one commit, and a build that gives one layout."""

    def __init__(self, root: Path, result: Path) -> None:
        self.root, self.result = root, result
        self.builds: list[tuple[tuple[str, ...], dict[str, Any]]] = []
        self.cached: set[str] = set()

    def __call__(self, argv: tuple[str, ...], **options: Any) -> Completed:
        if "checkout" in argv:
            source = Path(argv[argv.index("-C") + 1])
            for name in (DESCRIPTION, LOCK):
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.root / name, source / name)
        elif "invoke" in argv:
            self.builds.append((argv, options))
            cold = Cache(Path(options["env"]["ACCELERAPP_BUILD_CACHE"]))
            self.cached = {path.name for path in cold.blobs.glob("*/*")}
            output = Path(argv[argv.index("--output") + 1])
            shutil.copytree(self.result.parent, output, symlinks=True)
        return Completed(argv, 0, "", "")


@pytest.fixture
def built(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a layout with its provenance."""
    write_files(world)
    world.fill_cache()
    options = {"revision": Revision(COMMIT, 1_750_000_000)}
    report = world.build(**options)
    plan = replace(world.plan(**options), settings=read_settings(world.root))
    write_provenance(report, plan, Inputs(world.root / LOCK, world.root, Format.OCI, 7, {}))
    monkeypatch.setattr(commands, "builder_cache", lambda: world.cache)
    return world.output / "production"


def test_the_recorded_build_is_run_with_inputs_and_without_layers(
    world: World, built: Path
) -> None:
    builder = Builder(world.root, built)
    done = rebuild(RebuildRequest(str(built)), Silent(), root=world.root, runner=builder)
    assert done.is_same
    done.raise_for_difference()
    ((argv, options),) = builder.builds
    words = " ".join(argv)
    for flags in (
        "--target production",
        "--platform linux/amd64,linux/arm64",
        "--suite tiny",
        "--format oci",
        "--engine daemonless",
    ):
        assert flags in words
    assert options["env"]["SOURCE_DATE_EPOCH"] == "7"
    assert options["cwd"] != world.root
    assert set(done.recorded.inputs) >= builder.cached
    layers = {path.name for path in (built / "blobs" / "sha256").iterdir()}
    assert builder.cached
    assert not builder.cached & layers


def test_an_input_that_is_damaged_is_fetched_again(world: World, built: Path) -> None:
    builder = Builder(world.root, built)
    rebuild(RebuildRequest(str(built)), Silent(), root=world.root, runner=builder)
    victim = world.cache.blob_path(min(builder.cached))
    victim.write_bytes(b"something else")
    again = Builder(world.root, built)
    rebuild(RebuildRequest(str(built)), Silent(), root=world.root, runner=again)
    assert builder.cached - again.cached == {victim.name}


def test_another_result_is_a_difference(world: World, built: Path, tmp_path: Path) -> None:
    kept = tmp_path / "first"
    shutil.copytree(built.parent, kept, symlinks=True)
    world.build(revision=Revision("f" * 40, 1_750_000_001))  # In place of the first.
    builder = Builder(world.root, built)
    request = RebuildRequest(str(kept / "production"))
    done = rebuild(request, Silent(), root=world.root, runner=builder)
    assert not done.is_same
    with pytest.raises(RebuildDiffers, match=f"commit {COMMIT[:12]} gives {done.digest}"):
        done.raise_for_difference()


def test_a_build_that_fails_is_said(world: World, built: Path) -> None:
    class Failing(Builder):
        def __call__(self, argv: tuple[str, ...], **options: Any) -> Completed:
            done = super().__call__(argv, **options)
            return (
                replace(done, returncode=3, stderr="x\nerror: no\n") if "invoke" in argv else done
            )

    with pytest.raises(NotVerified, match="cannot be built again: error: no"):
        rebuild(
            RebuildRequest(str(built)),
            Silent(),
            root=world.root,
            runner=Failing(world.root, built),
        )


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["resolvedDependencies"][0]["digest"].update(gitCommit="--output=x"),
        lambda d: d["resolvedDependencies"][0]["digest"].update(gitCommit="HEAD"),
        lambda d: d["externalParameters"].update(target="--source"),
        lambda d: d["externalParameters"].update(target="../other"),
        lambda d: d["externalParameters"].update(suite=7),
        lambda d: d["externalParameters"].update(platforms=["linux/nothing"]),
        lambda d: d["externalParameters"].pop("format"),
        lambda d: d["internalParameters"].update(SOURCE_DATE_EPOCH="soon"),
        lambda d: d["resolvedDependencies"][-1]["digest"].update(sha256="../../x"),
    ],
)
def test_a_record_that_could_be_anything_reaches_no_command(
    world: World, built: Path, change: Any
) -> None:
    path = provenance_path(built)
    document = json.loads(path.read_bytes())
    change(document["predicate"]["buildDefinition"])
    path.write_text(json.dumps(document))
    builder = Builder(world.root, built)
    with pytest.raises(ImageInvalid, match="is no provenance of this project's"):
        rebuild(RebuildRequest(str(built)), Silent(), root=world.root, runner=builder)
    assert builder.builds == []
