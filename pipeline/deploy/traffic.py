"""`invoke deploy.switch` and `deploy.rollback`: which colour has the traffic, and going back."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.deploy import commands
from pipeline.deploy.cluster import Cluster
from pipeline.deploy.difference import Change, changes
from pipeline.deploy.ready import TOLD, explain, going_on, not_ready, wait_for
from pipeline.deploy.release import (
    COLOUR,
    Colours,
    Release,
    Revision,
    colours_of,
    deployments_of,
    given_values,
    image_of,
    live_manifest,
    need_release,
    need_rest,
    objects_of,
    service_of,
)
from pipeline.deploy.rollout import pod_health, states
from pipeline.deploy.status import traffic
from pipeline.deploy.target import Target
from pipeline.errors import ClusterDenied, HelmFailed, ReleaseMissing, SwitchRefused
from pipeline.helm.commands import Values
from pipeline.helm.render import render
from pipeline.kubernetes.objects import KubernetesObject, mapping
from pipeline.kubernetes.rules import COMPONENT, SERVICE
from pipeline.process import Runner, run
from pipeline.report import Progress


@dataclass(frozen=True, slots=True)
class Switched:
    """What a switch or a rollback did, or would do."""

    target: Target
    colour: str
    """The one that has the traffic now; empty where there are none."""
    revision: int | None
    """None of a dry run."""
    image: str
    changes: tuple[Change, ...]
    checks: tuple[str, ...]
    """What was looked at before."""

    def to_json(self) -> dict[str, Any]:
        """Return the result for programs."""
        return {
            "release": self.target.release,
            "namespace": self.target.namespace,
            "traffic": self.colour or None,
            "revision": self.revision,
            "image": self.image,
            "changes": [{"object": one.title, "change": one.what} for one in self.changes],
            "checks": list(self.checks),
        }


def switch(
    target: Target,
    chart: Path,
    progress: Progress,
    *,
    to: str = "",
    allow_fewer: bool = False,
    dry_run: bool = False,
    runner: Runner = run,
) -> Switched:
    """Give the traffic to the other colour, once all of it is ready and says that it is well.

    The old colour stays as it is.  Raises `SwitchRefused` with the reason, and nothing is
    changed then.
    """
    cluster = Cluster.open(target.place, runner)
    release = need_release(cluster)
    need_rest(cluster, release)
    before = objects_of(live_manifest(cluster))
    colours = _need_colours(before, target)
    wanted = to or colours.idle
    if wanted == colours.active:
        raise SwitchRefused(
            f"{wanted} has the traffic already", hint=f"the other is {colours.idle}"
        )
    scaled = any(found.kind == "HorizontalPodAutoscaler" for found in before)
    with progress.step(f"is {wanted} well") as step:
        checks = _need_well(
            cluster, target, wanted, colours.active, scaled=scaled, allow_fewer=allow_fewer
        )
        step.note(checks[0])
    values = Values(settings=(f"blueGreen.colour={wanted}",))
    differences = _need_selector_alone(cluster, target, chart, before, wanted)
    result = Switched(target, wanted, None, colours.images[wanted], differences, checks)
    if dry_run:
        return result
    with progress.step(f"traffic to {wanted}"):
        argv = commands.upgrade(
            target.place, chart, values, description=f"traffic to {wanted}", reuse=True
        )
        with going_on(target):
            cluster.change(argv)
        found = traffic(cluster, target)
    if found != wanted:
        raise HelmFailed(
            f"the Service selects {found or 'no colour'}, not {wanted}", hint="invoke deploy.status"
        )
    return replace(result, revision=need_release(cluster).current.number)


def rollback(
    target: Target,
    chart: Path,
    progress: Progress,
    *,
    revision: int | None = None,
    timeout_s: float = 300.0,
    dry_run: bool = False,
    runner: Runner = run,
) -> Switched:
    """Go back: the traffic to the other colour, or without colours to the revision before.

    Also the way out of a release that is pending.  Raises `SwitchRefused` where there is
    nothing to go back to, or it is not well, `ReleaseMissing` for a revision that is not
    there, and `RolloutFailed` where the old pods do not get ready.
    """
    cluster = Cluster.open(target.place, runner)
    release = need_release(cluster)
    before = objects_of(live_manifest(cluster))
    colours = colours_of(before)
    if colours is not None and revision is None and not release.current.is_pending:
        if colours.images["blue"] == colours.images["green"]:
            raise SwitchRefused(
                f"{colours.idle} runs the same image as {colours.active}: {colours.images['blue']}",
                hint="there is nothing to go back to; an older revision: --revision N",
            )
        return switch(target, chart, progress, dry_run=dry_run, runner=runner)
    wanted = _revision(release, revision, target)
    done = cluster.ask_helm((*commands.manifest(target.place), "--revision", str(wanted.number)))
    after = objects_of(done.stdout)
    active = colours_of(after)
    image = next((image_of(one) for one in deployments_of(after)), "")
    checks = (f"revision {wanted.number} was {wanted.status}: {wanted.description}",)
    result = Switched(
        target, active.active if active else "", None, image, changes(before, after), checks
    )
    if dry_run:
        return result
    with progress.step(f"helm rollback to revision {wanted.number}"), going_on(target):
        cluster.change(commands.rollback(target.place, wanted.number))
    waited = wait_for(cluster, target, after, progress, timeout_s)
    if not waited.is_ready:
        explain(cluster, waited, progress)
        raise not_ready(target, waited, "look at it with 'invoke deploy.status'")
    return replace(result, revision=need_release(cluster).current.number)


def _revision(release: Release, number: int | None, target: Target) -> Revision:
    if number is None:
        # Of a pending release the last good one is what is there; of a good one, that before.
        pending = release.current.is_pending or not release.current.was_well
        found = release.last_well if pending else release.before()
        if found is None:
            raise SwitchRefused(
                f"release {release.name} has no revision before {release.current.number} that was "
                "ever deployed",
                hint="there is nothing to go back to: "
                f"helm uninstall {release.name} --namespace {target.namespace}",
            )
        return found
    for one in release.revisions:
        if one.number == number:
            if not one.was_well:
                raise SwitchRefused(
                    f"revision {number} is {one.status}: {one.description}",
                    hint="choose one that was deployed: "
                    f"helm history {release.name} --namespace {target.namespace}",
                )
            return one
    raise ReleaseMissing(
        f"release {release.name} has no revision {number}",
        hint=f"it has {release.revisions[0].number} to {release.current.number}",
    )


def _need_colours(objects: Sequence[KubernetesObject], target: Target) -> Colours:
    colours = colours_of(objects)
    if colours is None:
        raise SwitchRefused(
            f"release {target.release} has one deployment, not two colours",
            hint="deploy it with blueGreen.enabled=true and blueGreen.colour=blue",
        )
    return colours


def _need_well(
    cluster: Cluster,
    target: Target,
    wanted: str,
    active: str,
    *,
    scaled: bool,
    allow_fewer: bool,
) -> tuple[str, ...]:
    """Return what was looked at; raises `SwitchRefused` for the first thing that is not well."""
    by_colour = {
        str(state.labels.get(COLOUR)): state
        for state in states(cluster, target.selector)
        if state.labels.get(COMPONENT) == SERVICE
    }
    state = by_colour.get(wanted)
    if state is None:
        raise SwitchRefused(
            f"the cluster has no deployment of {wanted}", hint="invoke deploy makes it again"
        )
    if state.wanted == 0:
        raise SwitchRefused(
            f"{wanted} has no pods", hint=f"--set blueGreen.{wanted}.replicas=N with invoke deploy"
        )
    if not state.is_ready:
        why = "; ".join(str(trouble) for trouble in state.troubles[:TOLD])
        raise SwitchRefused(
            f"{wanted} is not ready, {state.shown}{f': {why}' if why else ''}",
            hint="mend it, or deploy another image to it",
        )
    other = by_colour.get(active)
    if other is not None and state.ready < other.ready and not allow_fewer:
        raise SwitchRefused(
            f"{wanted} has {state.ready} pods, and {active}, which has the traffic, {other.ready}",
            hint=(
                "raise autoscaling.minReplicas"
                if scaled
                else f"--set blueGreen.{wanted}.replicas={other.ready}"
            )
            + " with invoke deploy, or --allow-fewer",
        )
    checks = [f"{state.ready} of {state.wanted} pods ready, {state.image}"]
    pods = cluster.get(("pods",), f"{target.selector},{COMPONENT}={SERVICE},{COLOUR}={wanted}")
    for pod in pods:
        metadata = mapping(pod.get("metadata"))
        if metadata.get("deletionTimestamp"):
            continue
        name = str(metadata.get("name"))
        try:
            is_well, said = pod_health(cluster, name, "/readyz?verbose")
        except ClusterDenied:
            checks.append("pods were not asked for /readyz: this user may not (pods/proxy)")
            break
        if not is_well:
            raise SwitchRefused(
                f"{name} is not well: {said}", hint=f"kubectl logs {name}, or ask its /readyz"
            )
        checks.append(f"{name} answers /readyz with {said}")
    return tuple(checks)


def _need_selector_alone(
    cluster: Cluster,
    target: Target,
    chart: Path,
    before: Sequence[KubernetesObject],
    wanted: str,
) -> tuple[Change, ...]:
    """Return what a switch changes: Services' selectors; raises `SwitchRefused` for more.

    helm has to be given a chart, and that of this checkout may be another than the release's.
    """
    with tempfile.TemporaryDirectory(prefix="values-") as folder:
        file = Path(folder) / "release.json"
        file.write_text(json.dumps(given_values(cluster)), encoding="utf-8")
        values = Values((file,), (f"blueGreen.colour={wanted}",))
        text = render(
            cluster.helm,
            chart,
            values,
            cluster.runner,
            release=target.release,
            namespace=target.namespace,
            kubernetes=cluster.version(),
        )
    differences = changes(before, objects_of(text))
    others = [one for one in differences if not one.title.startswith("Service ")]
    if others:
        shown = ", ".join(f"{one.title} {one.what}" for one in others[:TOLD])
        raise SwitchRefused(
            f"the chart here is not the release's: a switch would be more than one ({shown})",
            hint="check out the release's version, or bring the release here with invoke deploy",
        )
    service = service_of(before)
    if service is None or not any(one.title == service.title for one in differences):
        raise SwitchRefused(
            f"nothing would change: the chart does not give the traffic to {wanted}",
            hint="is it the chart of this release?",
        )
    return differences
