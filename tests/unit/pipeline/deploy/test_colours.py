"""Which colour keeps what when a release is deployed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.deploy.colours import keep_colours
from pipeline.deploy.release import Colours, Release, Revision
from pipeline.helm.chart import Chart
from pipeline.helm.commands import Values
from pipeline.kubernetes.objects import KubernetesObject

DIGEST = "sha256:" + "7" * 64
LIVE = Colours("green", {"blue": "web:1", "green": f"r.example:5000/web@{DIGEST}"})
RELEASE = Release("web", (Revision(1, "deployed", "accelerapp-0.1.0", "0.1.0", "", ""),))


@pytest.fixture
def chart(tmp_path: Path) -> Chart:
    (tmp_path / "values.yaml").write_text("image: {repository: web, tag: '', digest: ''}\n")
    return Chart(tmp_path, "accelerapp", "0.1.0", "0.1.0", "", {})


def rendered(active: str = "green", **images: str) -> list[KubernetesObject]:
    """Return what values render to."""
    objects = [
        {
            "kind": "Deployment",
            "metadata": {"name": colour, "labels": {"accelerapp/colour": colour}},
            "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
        }
        for colour, image in images.items()
    ]
    labels = {"app.kubernetes.io/component": "service"}
    selector = {"selector": {"accelerapp/colour": active}}
    service = {"kind": "Service", "metadata": {"name": "s", "labels": labels}, "spec": selector}
    return [KubernetesObject({"apiVersion": "v1", **one}, "") for one in (*objects, service)]


def kept(
    chart: Chart, given: tuple[str, ...], before: dict[str, Any], blue: str, green: str
) -> tuple[tuple[str, ...], list[str]]:
    values = Values(settings=given)
    after = rendered(blue=blue, green=green)
    found, notes = keep_colours(values, values, LIVE, after, before, RELEASE, chart)
    return found.strings, notes


PIN_GREEN = (
    "blueGreen.green.image.repository=r.example:5000/web",
    f"blueGreen.green.image.digest={DIGEST}",
    "blueGreen.green.image.tag=",
)
PIN_BLUE = (
    "blueGreen.blue.image.repository=web",
    "blueGreen.blue.image.digest=",
    "blueGreen.blue.image.tag=1",
)


def test_both_keep_what_they_run_where_nothing_is_new(chart: Chart) -> None:
    same = {"image": {"tag": "5"}}
    assert kept(chart, ("image.tag=5",), same, "web:5", "web:5") == ((*PIN_GREEN, *PIN_BLUE), [])


def test_nothing_is_pinned_that_is_so_anyway(chart: Chart) -> None:
    found = kept(chart, (), {}, "web:1", LIVE.images["green"])
    assert found == ((), [])


def test_a_new_image_of_the_release_is_for_the_colour_that_waits(chart: Chart) -> None:
    strings, notes = kept(chart, ("image.tag=6",), {"image": {"tag": "5"}}, "web:6", "web:6")
    assert strings == PIN_GREEN
    assert notes == ["blue gets web:6; the traffic stays at green"]


def test_a_new_repository_of_the_release_is_a_new_image(chart: Chart) -> None:
    before = {"image": {"tag": "5"}}
    given = ("image.tag=5", "image.repository=other")
    strings, notes = kept(chart, given, before, "other:5", "other:5")
    assert strings == PIN_GREEN
    assert notes == ["blue gets other:5; the traffic stays at green"]


def test_a_new_version_of_the_chart_is_a_new_image_where_values_name_none(chart: Chart) -> None:
    newer = Chart(chart.folder, "accelerapp", "0.2.0", "0.2.0", "", {})
    strings, notes = kept(newer, (), {}, "web:v0.2.0-production", "web:v0.2.0-production")
    assert strings == PIN_GREEN
    assert notes == ["blue gets web:v0.2.0-production; the traffic stays at green"]


def test_an_image_of_the_colour_that_waits_is_taken(chart: Chart) -> None:
    given = ("blueGreen.blue.image.tag=9",)
    strings, notes = kept(chart, given, {}, "web:9", LIVE.images["green"])
    assert (strings, notes) == ((), ["blue gets web:9; the traffic stays at green"])


def test_what_is_chosen_elsewhere_is_not_spoken_of_twice(chart: Chart) -> None:
    values = Values(settings=("image.tag=6",))
    after = rendered(blue="web:6", green="web:6")
    before = {"image": {"tag": "5"}}
    found, notes = keep_colours(
        values, values, LIVE, after, before, RELEASE, chart, idle_is_chosen=True
    )
    assert (found.strings, notes) == (PIN_GREEN, [])


def test_an_image_of_the_colour_with_the_traffic_is_not(chart: Chart) -> None:
    given = ("blueGreen.green.image.tag=9",)
    strings, (note,) = kept(chart, given, {}, "web:1", "web:9")
    assert strings == PIN_GREEN
    assert (
        note == f"green has the traffic and keeps {LIVE.images['green']}, not what the values say"
    )


def test_the_colour_of_the_values_is_where_it_began(chart: Chart) -> None:
    given = ("blueGreen.colour=blue",)
    _, (note,) = kept(chart, given, {}, "web:1", LIVE.images["green"])
    assert note.startswith("the values give the traffic to blue, and green has it: kept")
