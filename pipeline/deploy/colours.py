"""Which colour keeps what, when a release with two colours is deployed again.

The colour that has the traffic keeps it, and its image.  The other one keeps its image, too,
unless the values name another: for that colour, or for the whole release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.deploy import images
from pipeline.deploy.release import Colours, Release, colours_of
from pipeline.helm.chart import Chart
from pipeline.helm.commands import Values
from pipeline.kubernetes.objects import KubernetesObject, mapping


def keep_colours(
    given: Values,
    values: Values,
    live: Colours,
    after: Sequence[KubernetesObject],
    before: Mapping[str, Any],
    release: Release,
    chart: Chart,
    *,
    idle_is_chosen: bool = False,
) -> tuple[Values, list[str]]:
    """Return values that leave the traffic, and images, where they are, and what is said of it.

    `given` is what the user gives, `values` that with the live colour, `after` what it renders,
    `before` what the release was given last; `idle_is_chosen`, what the colour that waits gets
    is said elsewhere.
    """
    notes = []
    first = images.given_value(given, "blueGreen.colour")
    if first and first != live.active:
        notes.append(
            f"the values give the traffic to {first}, and {live.active} has it: kept; "
            "'invoke deploy.switch' changes it"
        )
    wanted = colours_of(after)
    assert wanted is not None
    sets = []
    own = {colour: _is_named(given, f"blueGreen.{colour}.image") for colour in live.images}
    if wanted.images[live.active] != live.images[live.active]:
        sets += _pinned(live.active, live.images[live.active])
        if own[live.active]:
            notes.append(
                f"{live.active} has the traffic and keeps {live.images[live.active]}, not what "
                "the values say"
            )
    idle = live.idle
    is_new = _release_image(given, chart.app_version, chart) != _release_image_before(
        before, release.current.app_version, chart
    )
    if not idle_is_chosen and wanted.images[idle] != live.images[idle]:
        if own[idle] or is_new:
            notes.append(f"{idle} gets {wanted.images[idle]}; the traffic stays at {live.active}")
        else:
            sets += _pinned(idle, live.images[idle])
    return values.also(sets), notes


def _pinned(colour: str, image: str) -> list[str]:
    """Return the strings that make a colour run an image."""
    name, _, digest = image.partition("@")
    tag = "" if digest else name.rpartition("/")[2].partition(":")[2]
    repository = name.removesuffix(f":{tag}") if tag else name
    place = f"blueGreen.{colour}.image"
    return [f"{place}.repository={repository}", f"{place}.digest={digest}", f"{place}.tag={tag}"]


def _is_named(values: Values, place: str) -> bool:
    return any(images.given_value(values, f"{place}.{key}") for key in ("digest", "tag"))


def _release_image(values: Values, app_version: str, chart: Chart) -> tuple[str, str]:
    """Return the repository, and the tag or digest, that values give the whole release."""
    found = {key: images.value_of(values, chart.folder, f"image.{key}") for key in _PARTS}
    return _image(found, app_version)


def _release_image_before(
    before: Mapping[str, Any], app_version: str, chart: Chart
) -> tuple[str, str]:
    image = mapping(before.get("image"))
    found = {
        key: image.get(key) or images.value_of(Values(), chart.folder, f"image.{key}")
        for key in _PARTS
    }
    return _image(found, app_version)


_PARTS = ("repository", "tag", "digest")


def _image(found: Mapping[str, Any], app_version: str) -> tuple[str, str]:
    version = found["digest"] or found["tag"] or f"v{app_version}-production"
    return str(found["repository"]), str(version)
