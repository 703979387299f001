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
from pipeline.deploy.colours import keep_colours
from pipeline.deploy.difference import Change, changes, pods_differ
from pipeline.deploy.ready import explain, going_on, not_ready, wait_for
from pipeline.deploy.release import (
    COLOUR,
    Colours,
    Release,
    colours_of,
    deployments_of,
    find_release,
    given_values,
    live_colours,
    manifest_of,
    need_deployed,
    need_rest,
    objects_of,
    service_image,
)
from pipeline.deploy.rollout import State
from pipeline.deploy.status import state_json
from pipeline.deploy.target import Target
from pipeline.errors import (
    NamespaceMissing,
    OptionInvalid,
    PipelineError,
    SwitchRefused,
)
from pipeline.helm.chart import read_chart
from pipeline.helm.commands import Values
from pipeline.helm.render import render
from pipeline.kubernetes.objects import KubernetesObject, mapping
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
    allow_downtime: bool = False
    timeout_s: float = 300.0
    keep_failed: bool = False


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deploy did, or would do."""

    target: Target
    before: int | None
    """The revision that was there."""
    revision: int | None
    """The one that is there now; None of a dry run."""
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
    has_namespace: bool
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
    `ChartInvalid`, `SwitchRefused` and what reading images and asking a registry raises before
    anything is changed, `HelmFailed`, and `RolloutFailed` with the reasons.
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
    with going_on(request.target):
        if not prepared.has_namespace:
            cluster.make_namespace()
        try:
            with progress.step("helm upgrade --install"):
                argv = commands.upgrade(
                    request.target.place,
                    request.chart,
                    prepared.values,
                    description="invoke deploy",
                )
                cluster.upgrade(argv)
                revision = need_deployed(cluster, before)
            waited = wait_for(cluster, request.target, prepared.after, progress, request.timeout_s)
        except PipelineError as error:
            hints = (_take_back(prepared, request, progress), error.hint)
            raise type(error)(error.message, hint="; ".join(filter(None, hints))) from None
        if not waited.is_ready:
            explain(cluster, waited, progress)
            raise not_ready(request.target, waited, _take_back(prepared, request, progress))
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
    chart = read_chart(request.chart)
    target = request.target
    built = _built(request, environ)
    cluster = Cluster.open(target.place, runner)
    with progress.step("cluster") as step:
        kubernetes = cluster.version()
        step.note(f"Kubernetes {kubernetes}")
        has_namespace = cluster.has_namespace()
        if not has_namespace and not request.create_namespace and not dry_run:
            name = target.namespace
            raise NamespaceMissing(
                f"there is no namespace {name}",
                hint=f"kubectl create namespace {name}, or --create-namespace",
            )
        release = find_release(cluster) if has_namespace else None
    before: tuple[KubernetesObject, ...] = ()
    live = None
    if release is not None:
        need_rest(cluster, release)
        before = manifest_of(cluster)
        live = live_colours(cluster, target) or colours_of(before)

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

    values, notes = request.values, []
    if live is not None and _has_colours(values, request.chart):
        # Which colour has the traffic is the release's own state: values say where it begins.
        values = values.also([f"blueGreen.colour={live.active}"])
    after = rendered(values)
    if release is not None:
        _need_one_way(request, before, after, live)
    colour = None
    if live is not None and release is not None and colours_of(after) is not None:
        values, told = keep_colours(
            request.values,
            values,
            live,
            after,
            given_values(cluster),
            release,
            chart,
            idle_is_chosen=built is not None,
        )
        notes += told
        colour = live.idle
        after = rendered(values)
    if built is not None:
        values = _with_images(request, built, values, after, colour, progress)
        after = rendered(values)
        _need_images(built, after, colour)
        if live is not None and colour:
            notes.append(f"{colour} gets the new image; the traffic stays at {live.active}")
    if live is not None and colour:
        notes += _active_changes(before, after, live)
    notes += _autoscaled(before, after)
    if not dry_run:
        with progress.step("permissions"):
            cluster.need_permissions(before, after)
    return _Prepared(cluster, has_namespace, release, values, before, after, tuple(notes))


def _has_colours(values: Values, chart: Path) -> bool:
    return str(images.value_of(values, chart, "blueGreen.enabled")).lower() == "true"


def _built(request: DeployRequest, environ: Mapping[str, str]) -> images.BuiltImages | None:
    if request.image_from is None:
        if request.registry is not None:
            raise OptionInvalid(
                "--registry goes with --image-from", hint="or --set image.repository=…"
            )
        return None
    settings = read_settings(project.ROOT)
    return images.built_images(
        request.image_from, request.registry, request.values, request.chart, settings, environ
    )


def _need_one_way(
    request: DeployRequest,
    before: Sequence[KubernetesObject],
    after: Sequence[KubernetesObject],
    live: Colours | None,
) -> None:
    """Raise `SwitchRefused` for a release that would go from one deployment to two colours, or
    back: helm makes the new pods and ends the old ones at once."""
    was = live is not None or colours_of(before) is not None
    will_be = colours_of(after) is not None
    if was == will_be or request.allow_downtime:
        return
    one, two = "one deployment", "two colours"
    what = f"{one}, and the values {two}" if will_be else f"{two}, and the values {one}"
    raise SwitchRefused(
        f"release {request.target.release} has {what}: all of its pods would go at once",
        hint="set blueGreen in the values as the release has it, or --allow-downtime",
    )


def _with_images(
    request: DeployRequest,
    built: images.BuiltImages,
    values: Values,
    after: Sequence[KubernetesObject],
    colour: str | None,
    progress: Progress,
) -> Values:
    """Return values that run what was built: in one colour alone, where one is named."""
    used = _targets(after)
    both = colours_of(after) is not None and colour is None
    sets = images.settings_for(built, used, colour, clear_colours=both)
    tag = images.given_value(request.values, "image.tag")
    if request.ask_registry:
        with progress.step(f"images in {built.repository}"):
            images.check_pushed(built, used, plain_http=request.plain_http)
            if tag:
                images.check_tag(built, str(tag), plain_http=request.plain_http)
    return values.also(sets)


def _need_images(
    built: images.BuiltImages, after: Sequence[KubernetesObject], colour: str | None
) -> None:
    """Raise `OptionInvalid` unless the release would run what was built."""
    digest = built.digests[images.PRODUCTION]
    found = colours_of(after)
    if found is not None:
        running = [found.images[colour]] if colour else list(found.images.values())
    else:
        running = [service_image(after)]
    for image in running:
        if not image.endswith(f"@{digest}"):
            raise OptionInvalid(
                f"the values would run {image}, not {digest} of {built.folder}",
                hint="take the image out of the values, or leave --image-from out",
            )


def _targets(objects: Sequence[KubernetesObject]) -> tuple[str, ...]:
    """Return the images of images.toml that a release runs, production first."""
    components = {found.labels.get(COMPONENT) for found in deployments_of(objects)}
    known = {MONITOR: "monitoring", "redis": "redis"}
    return (images.PRODUCTION, *(known[name] for name in known if name in components))


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


def _autoscaled(before: Sequence[KubernetesObject], after: Sequence[KubernetesObject]) -> list[str]:
    """What is said of a release that gets its first autoscaler: Kubernetes sets `replicas` to 1
    where they are left out, until the autoscaler acts."""
    had, has = (
        any(found.kind == "HorizontalPodAutoscaler" for found in some) for some in (before, after)
    )
    if before and has and not had:
        return [
            "the autoscaler is new: pods may fall to one until it acts; apply the autoscaler first "
            "where that is too few"
        ]
    return []


def _take_back(prepared: _Prepared, request: DeployRequest, progress: Progress) -> str:
    """Undo an upgrade; return what is there now, in words."""
    if request.keep_failed:
        return "it is left as it is (--keep-failed)"
    place, cluster = request.target.place, prepared.cluster
    good = prepared.release.applied if prepared.release is not None else None
    try:
        now = find_release(cluster)
        if now is None:
            return "nothing was made"
        if prepared.release is not None and now.current == prepared.release.current:
            return "nothing was changed"
        if good is None:
            with progress.step("helm uninstall"):
                cluster.finish(commands.uninstall(place))
            kept = [one.title for one in prepared.after if _is_kept(one)]
            return f"nothing is left of it{' but ' if kept else ''}{', '.join(kept)}"
        with progress.step(f"helm rollback to revision {good.number}"):
            cluster.finish(commands.rollback(place, good.number))
        objects = manifest_of(cluster)
        waited = wait_for(cluster, request.target, objects, progress, request.timeout_s)
    except PipelineError as error:
        return f"and going back failed, too: {error.message}"
    state = "and is ready" if waited.is_ready else "and is not ready either"
    return f"revision {good.number} is back {state}"


def _is_kept(found: KubernetesObject) -> bool:
    annotations = mapping(found.metadata.get("annotations"))
    return annotations.get("helm.sh/resource-policy") == "keep"
