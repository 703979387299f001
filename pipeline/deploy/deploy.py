"""`invoke deploy`: install or upgrade, wait, and take back what does not get ready."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline import commands as project
from pipeline.deploy import commands, images
from pipeline.deploy.cluster import Cluster
from pipeline.deploy.difference import Change, changes, pods_differ
from pipeline.deploy.ready import explain, going_on, not_ready, wait_for
from pipeline.deploy.release import (
    COLOUR,
    Colours,
    Release,
    colours_of,
    deployments_of,
    find_release,
    live_manifest,
    need_release,
    need_rest,
    objects_of,
)
from pipeline.deploy.rollout import State
from pipeline.deploy.status import state_json
from pipeline.deploy.target import Target
from pipeline.errors import HelmFailed, OptionInvalid, PipelineError, ReleaseMissing
from pipeline.helm.commands import Values
from pipeline.helm.render import render
from pipeline.kubernetes.objects import KubernetesObject
from pipeline.kubernetes.rules import COMPONENT, MONITOR
from pipeline.process import Runner, run
from pipeline.report import Progress
from pipeline.settings import read_settings


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """The flags of `invoke deploy`."""

    target: Target
    chart: Path
    values: Values = field(default_factory=Values)
    image_from: Path | None = None
    registry: str | None = None
    plain_http: bool = False
    ask_registry: bool = True
    create_namespace: bool = False
    timeout_s: float = 300.0
    keep_failed: bool = False


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deploy did, or would do."""

    target: Target
    before: int | None
    """The revision that was there."""
    revision: int | None
    """The one that is there now; None of a dry run, and where nothing changed."""
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    states: tuple[State, ...] = ()
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the result for programs."""
        return {
            "release": self.target.release,
            "namespace": self.target.namespace,
            "before": self.before,
            "revision": self.revision,
            "changes": [{"object": one.title, "change": one.what} for one in self.changes],
            "notes": list(self.notes),
            "deployments": [state_json(state) for state in self.states],
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class _Prepared:
    """What a deploy will do, before anything is done."""

    cluster: Cluster
    release: Release | None
    values: Values
    before: tuple[KubernetesObject, ...]
    after: tuple[KubernetesObject, ...]
    notes: tuple[str, ...]


def deploy(
    request: DeployRequest,
    progress: Progress,
    *,
    dry_run: bool = False,
    runner: Runner = run,
    environ: Mapping[str, str] = os.environ,
) -> Deployed:
    """Install or upgrade the release, and wait until its pods are ready.

    With a failure it goes back to what was there before, unless `keep_failed`.  Raises
    `ToolMissing`, `ClusterUnavailable`, `NamespaceMissing`, `ClusterDenied`, `ReleaseBusy`,
    `ChartInvalid` and what reading images and asking a registry raises before anything is
    changed, `HelmFailed`, and `RolloutFailed` with the reasons.
    """
    prepared = _prepare(request, progress, dry_run=dry_run, runner=runner, environ=environ)
    cluster, release = prepared.cluster, prepared.release
    differences = changes(prepared.before, prepared.after)
    before = release.current.number if release else None
    result = Deployed(request.target, before, None, differences, prepared.notes)
    if dry_run:
        return result
    for note in prepared.notes:
        progress.say(f"note: {note}")
    with progress.step("helm upgrade --install"):
        argv = commands.upgrade(
            request.target.place, request.chart, prepared.values, description="invoke deploy"
        )
        try:
            with going_on(request.target):
                cluster.change(argv)
        except HelmFailed:
            _take_back(cluster, release, progress, request)
            raise
    revision = need_release(cluster).current.number
    waited = wait_for(cluster, request.target, prepared.after, progress, request.timeout_s)
    if not waited.is_ready:
        explain(cluster, waited, progress)
        back = _take_back(cluster, release, progress, request)
        raise not_ready(request.target, waited, back)
    return replace(result, revision=revision, states=waited.states, seconds=waited.seconds)


def _prepare(
    request: DeployRequest,
    progress: Progress,
    *,
    dry_run: bool,
    runner: Runner,
    environ: Mapping[str, str],
) -> _Prepared:
    request.values.check()
    settings = read_settings(project.ROOT)
    built = None
    if request.image_from is not None:
        built = images.built_images(
            request.image_from, request.registry, request.values, request.chart, settings, environ
        )
    elif request.registry is not None:
        raise OptionInvalid("--registry goes with --image-from", hint="or --set image.repository=…")
    target = request.target
    cluster = Cluster.open(target.place, runner)
    with progress.step("cluster") as step:
        kubernetes = cluster.version()
        step.note(f"Kubernetes {kubernetes}")
        is_new = False
        if not dry_run:
            is_new = cluster.need_namespace(create=request.create_namespace)
        release = None if is_new else find_release(cluster)
    before: tuple[KubernetesObject, ...] = ()
    colours = None
    if release is not None:
        need_rest(cluster, release)
        before = objects_of(live_manifest(cluster))
        colours = colours_of(before)
    values, notes = request.values, []

    def rendered(values: Values) -> tuple[KubernetesObject, ...]:
        return objects_of(
            render(
                cluster.helm,
                request.chart,
                values,
                runner,
                release=target.release,
                namespace=target.namespace,
                kubernetes=kubernetes,
            )
        )

    after = rendered(values)
    if colours is not None and colours_of(after) is not None:
        values, told = _keep_colours(values, colours, after)
        notes += told
    if built is not None:
        colour = colours.idle if colours is not None and colours_of(after) else None
        used = _targets(after)
        sets = images.settings_for(built, used, colour)
        tag = images.given_value(request.values, "image.tag")
        if request.ask_registry:
            with progress.step(f"images in {built.repository}"):
                images.check_pushed(built, used, plain_http=request.plain_http)
                if tag:
                    images.check_tag(built, str(tag), plain_http=request.plain_http)
        values = Values(values.files, (*values.settings, *sets))
        if colours is not None and colour:
            notes.append(f"{colour} gets the new image; the traffic stays at {colours.active}")
    if values is not request.values:
        after = rendered(values)
    if colours is not None and colours_of(after) is not None:
        notes += _active_changes(before, after, colours)
    if not dry_run:
        with progress.step("permissions"):
            cluster.need_permissions(after)
    return _Prepared(cluster, release, values, before, after, tuple(notes))


def _targets(objects: Sequence[KubernetesObject]) -> tuple[str, ...]:
    """Return the images of images.toml that a release runs, production first."""
    components = {found.labels.get(COMPONENT) for found in deployments_of(objects)}
    known = {MONITOR: "monitoring", "redis": "redis"}
    return (images.PRODUCTION, *(known[name] for name in known if name in components))


def _keep_colours(
    values: Values, live: Colours, after: Sequence[KubernetesObject]
) -> tuple[Values, list[str]]:
    """Return values that leave the traffic, and each colour's image, where they are.

    Which colour has the traffic is the release's own state, not that of a file: the file says
    where it begins.
    """
    sets, notes = [f"blueGreen.colour={live.active}"], []
    wanted = colours_of(after)
    assert wanted is not None
    if wanted.active != live.active:
        notes.append(
            f"the values give the traffic to {wanted.active}, and {live.active} has it: kept; "
            "'invoke deploy.switch' changes it"
        )
    for colour, image in live.images.items():
        if wanted.images.get(colour) == image:
            continue
        given = images.given_value(values, f"blueGreen.{colour}.image.digest")
        given = given or images.given_value(values, f"blueGreen.{colour}.image.tag")
        if given and colour != live.active:
            continue  # A new image for the colour that waits, by hand.
        name, _, digest = image.partition("@")
        tag = "" if digest else name.rpartition("/")[2].partition(":")[2]
        sets += [f"blueGreen.{colour}.image.digest={digest}", f"blueGreen.{colour}.image.tag={tag}"]
        if given:
            notes.append(f"{colour} has the traffic and keeps {image}, not what the values say")
    return Values(values.files, (*values.settings, *sets)), notes


def _active_changes(
    before: Sequence[KubernetesObject], after: Sequence[KubernetesObject], colours: Colours
) -> list[str]:
    old, new = (
        next((o for o in deployments_of(some) if o.labels.get(COLOUR) == colours.active), None)
        for some in (before, after)
    )
    if pods_differ(old, new):
        return [f"{colours.active}, which has the traffic, gets new pods, too: its settings change"]
    return []


def _take_back(
    cluster: Cluster,
    release: Release | None,
    progress: Progress,
    request: DeployRequest,
) -> str:
    """Undo an upgrade; return what is there now, in words."""
    if request.keep_failed:
        return "it is left as it is (--keep-failed)"
    place = request.target.place
    good = release.last_well if release is not None else None
    try:
        if good is None:
            with progress.step("helm uninstall"):
                cluster.change(commands.uninstall(place))
            return "nothing is left of it"
        with progress.step(f"helm rollback to revision {good.number}"):
            cluster.change(commands.rollback(place, good.number))
    except ReleaseMissing:
        return "nothing was made"
    except PipelineError as error:
        return f"and going back failed, too: {error.message}"
    names = deployments_of(objects_of(live_manifest(cluster)))
    waited = wait_for(cluster, request.target, names, progress, request.timeout_s)
    state = "and is ready" if waited.is_ready else "and is not ready either"
    return f"revision {good.number} is back {state}"
