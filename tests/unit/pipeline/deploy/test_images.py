"""Which images a release is to run: what was built, and what the values say besides."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.deploy.images import BuiltImages, given_value, settings_for
from pipeline.errors import ChartInvalid, OptionInvalid
from pipeline.helm.commands import Values
from pipeline.oci.registry.reference import Repository

REPOSITORY = Repository.parse("r.example/owner/accelerapp")
DIGESTS = {"production": "sha256:aa", "monitoring": "sha256:bb"}


def built(*, is_chosen: bool) -> BuiltImages:
    return BuiltImages(Path("dist"), REPOSITORY, is_chosen, DIGESTS)


def test_every_image_of_the_release_by_digest_and_without_a_tag() -> None:
    assert settings_for(built(is_chosen=False), ["production", "monitoring"], None) == (
        "image.digest=sha256:aa",
        "image.tag=",
        "monitor.image.digest=sha256:bb",
        "monitor.image.tag=",
    )


def test_from_the_registry_of_the_flag() -> None:
    assert settings_for(built(is_chosen=True), ["production", "monitoring"], None) == (
        "image.digest=sha256:aa",
        "image.tag=",
        "image.repository=r.example/owner/accelerapp",
        "monitor.image.digest=sha256:bb",
        "monitor.image.tag=",
        "monitor.image.repository=r.example/owner/accelerapp",
    )


def test_for_one_colour_alone() -> None:
    assert settings_for(built(is_chosen=True), ["production"], "green") == (
        "blueGreen.green.image.digest=sha256:aa",
        "blueGreen.green.image.tag=",
        "blueGreen.green.image.repository=r.example/owner/accelerapp",
    )


def test_for_both_colours_of_a_new_release() -> None:
    found = settings_for(built(is_chosen=False), ["production"], None, clear_colours=True)
    assert found[-2:] == ("image.digest=sha256:aa", "image.tag=")
    assert set(found[:-2]) == {
        f"blueGreen.{colour}.image.{key}="
        for colour in ("blue", "green")
        for key in ("repository", "tag", "digest")
    }


def test_one_that_is_not_built() -> None:
    with pytest.raises(OptionInvalid, match="the release runs redis, and it is not in dist"):
        settings_for(built(is_chosen=False), ["production", "redis"], None)


def test_values_are_read_as_helm_reads_them(tmp_path: Path) -> None:
    one, two = tmp_path / "1.yaml", tmp_path / "2.yaml"
    one.write_text("image: {tag: v1, digest: x}\n")
    two.write_text("image: {tag: v2}\nother: 1\n")
    assert given_value(Values((one, two)), "image.tag") == "v2"
    assert given_value(Values((two, one)), "image.tag") == "v1"
    assert given_value(Values((one, two)), "image.digest") == "x"
    assert given_value(Values((one, two), ("a=b,image.tag=v3",)), "image.tag") == "v3"
    assert given_value(Values((two,)), "image.tag.deeper") is None
    assert given_value(Values(), "image.tag") is None


def test_values_that_cannot_be_read(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [")
    with pytest.raises(ChartInvalid, match=r"bad\.yaml:1: not YAML: "):
        given_value(Values((bad,)), "a")
