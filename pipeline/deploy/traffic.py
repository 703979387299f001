"""`invoke deploy.switch` and `deploy.rollback`: which colour has the traffic, and going back."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
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
    given_values,
    live_colours,
    manifest_of,
    need_deployed,
    need_release,
    need_rest,
    objects_of,
    other_colour,
    service_image,
)
from pipeline.deploy.rollout import Health, pod_health, running_pods, states
from pipeline.deploy.status import traffic
from pipeline.deploy.target import Target
from pipeline.errors import HelmFailed, PipelineError, ReleaseMissing, SwitchRefused
from pipeline.helm.commands import Values
from pipeline.helm.render import render
from pipeline.kubernetes.objects import KubernetesObject
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


@dataclass(frozen=True, slots=True)
class Gate:
    """What a colour has to be before it gets the traffic."""

    allow_fewer: bool = False
    """Even with fewer pods than the other one has."""
    ask_pods: bool = True
    """Whether pods are asked for /readyz, through the cluster."""


def switch(
    target: Target,
    chart: Path,
    progress: Progress,
    *,
    to: str = "",
    gate: Gate | None = None,
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
    colours = _need_colours(cluster, target)
    wanted = to or colours.idle
    if wanted == colours.active:
        raise SwitchRefused(
            f"{wanted} has the traffic already", hint=f"the other is {colours.idle}"
        )
    before = manifest_of(cluster)
    checks = _gate(cluster, target, wanted, before, gate or Gate(), progress)
    with _values(cluster, wanted) as values:
        differences = _need_selector_alone(cluster, target, chart, before, values, wanted)
        result = Switched(target, wanted, None, colours.images[wanted], differences, checks)
        if dry_run:
            return result
        cluster.need_permissions(before, before)
        argv = commands.upgrade(target.place, chart, values, description=f"traffic to {wanted}")
        with progress.step(f"traffic to {wanted}"), going_on(target):
            revision = _move(cluster, target, wanted, release, argv)
    return replace(result, revision=revision)


def _move(
    cluster: Cluster, target: Target, wanted: str, release: Release, argv: Sequence[str]
) -> int:
    """Have helm move the traffic; where that fails, bring back what was there."""
    try:
        cluster.upgrade(argv)
        revision = need_deployed(cluster, release.current.number)
        if (found := traffic(cluster, target)) != wanted:
            raise HelmFailed(f"the Service selects {found or 'no colour'}, not {wanted}")
    except PipelineError as error:
        back = _undo(cluster, target, release)
        raise type(error)(error.message, hint="; ".join(filter(None, (back, error.hint)))) from None
    return revision


def _undo(cluster: Cluster, target: Target, release: Release) -> str:
    """Bring back the revision before a change that failed; say where the traffic is now."""
    said, good = [], release.applied
    try:
        if good is not None and need_release(cluster).current != release.current:
            cluster.finish(commands.rollback(target.place, good.number))
            said.append(f"revision {good.number} is back")
    except PipelineError as error:
        said.append(f"going back failed, too: {error.message}")
    with contextlib.suppress(PipelineError):
        said.append(f"{traffic(cluster, target) or 'no colour'} has the traffic")
    return ", ".join(said)


def rollback(
    target: Target,
    chart: Path,
    progress: Progress,
    *,
    revision: int | None = None,
    gate: Gate | None = None,
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
    need_rest(cluster, release, to_go_back=True)
    before = manifest_of(cluster)
    colours = live_colours(cluster, target) or colours_of(before)
    if colours is not None and revision is None and not release.current.is_pending:
        proven = _proven(cluster, release, colours)
        if colours_of(proven[1]) is not None and _only_selectors(changes(before, proven[1])):
            # What helm remembers is all that is wanted: no chart is needed to bring it back.
            wanted, after = proven
        else:
            return switch(target, chart, progress, gate=gate, dry_run=dry_run, runner=runner)
    else:
        wanted = _revision(cluster, release, revision, before, target)
        after = manifest_of(cluster, wanted.number)
    then = colours_of(after)
    checks: tuple[str, ...] = (
        f"revision {wanted.number} was {wanted.status}: {wanted.description}",
    )
    if then is not None and colours is not None and then.active != colours.active:
        _need_image(then, colours, wanted)
        checks += _gate(cluster, target, then.active, before, gate or Gate(), progress)
    result = Switched(
        target,
        then.active if then else "",
        None,
        service_image(after),
        changes(before, after),
        checks,
    )
    if dry_run:
        return result
    cluster.need_permissions(before, after)
    with going_on(target):
        with progress.step(f"helm rollback to revision {wanted.number}"):
            cluster.finish(commands.rollback(target.place, wanted.number))
            now = need_deployed(cluster, release.current.number)
        waited = wait_for(cluster, target, after, progress, timeout_s)
    if not waited.is_ready:
        explain(cluster, waited, progress)
        raise not_ready(target, waited, "look at it with 'invoke deploy.status'")
    return replace(result, revision=now)


def _proven(
    cluster: Cluster, release: Release, colours: Colours
) -> tuple[Revision, tuple[KubernetesObject, ...]]:
    """Return the newest revision in which the colour that waits had the traffic, with the image
    that it runs now; raises `SwitchRefused` for one that never had it."""
    image = colours.images[colours.idle]
    if image == colours.images[colours.active]:
        raise SwitchRefused(
            f"{colours.idle} runs the same image as {colours.active}: {image}",
            hint="there is nothing to go back to; an older revision: --revision N",
        )
    for one in reversed(release.revisions[:-1]):
        if not one.was_applied:
            continue
        objects = manifest_of(cluster, one.number)
        found = colours_of(objects)
        if found and found.active == colours.idle and found.images[found.active] == image:
            return one, objects
    raise SwitchRefused(
        f"{colours.idle} runs {image}, which never had the traffic: that would be going forward",
        hint="'invoke deploy.switch' if you mean that; an older revision: --revision N",
    )


def _need_image(then: Colours, live: Colours, wanted: Revision) -> None:
    """Raise `SwitchRefused` for a revision whose colour with the traffic runs something else
    now: the traffic would be there before its pods are."""
    image = then.images[then.active]
    if live.images[then.active] != image:
        raise SwitchRefused(
            f"revision {wanted.number} gives the traffic to {then.active} with {image}, and "
            f"{then.active} runs {live.images[then.active]}",
            hint=f"deploy {image} to the colour that waits, then invoke deploy.switch",
        )


def _revision(
    cluster: Cluster,
    release: Release,
    number: int | None,
    before: Sequence[KubernetesObject],
    target: Target,
) -> Revision:
    if number is None:
        for one in _ways_back(release):
            if changes(before, manifest_of(cluster, one.number)) or _needs_record(release):
                return one
        raise SwitchRefused(
            f"release {release.name} has no other revision before {release.current.number} that "
            "was ever deployed",
            hint="there is nothing to go back to: "
            f"helm uninstall {release.name} --namespace {target.namespace}",
        )
    for one in release.revisions:
        if one.number == number:
            if not one.was_applied:
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


def _needs_record(release: Release) -> bool:
    """Whether helm's own record has to be put in order, whatever the objects are."""
    return release.current.is_pending or not release.current.was_applied


def _ways_back(release: Release) -> Iterator[Revision]:
    """Yield what to go back to: of what was cut off, or failed, first what was there before."""
    if _needs_record(release) and release.applied is not None:
        yield release.applied
    yield from release.before()


def _need_colours(cluster: Cluster, target: Target) -> Colours:
    colours = live_colours(cluster, target)
    if colours is None:
        raise SwitchRefused(
            f"release {target.release} has one deployment, not two colours",
            hint="deploy it with blueGreen.enabled=true and blueGreen.colour=blue",
        )
    return colours


# The gate.


def _gate(
    cluster: Cluster,
    target: Target,
    wanted: str,
    before: Sequence[KubernetesObject],
    gate: Gate,
    progress: Progress,
) -> tuple[str, ...]:
    """Return what was looked at; raises `SwitchRefused` for the first thing that is not well."""
    scaled = any(found.kind == "HorizontalPodAutoscaler" for found in before)
    with progress.step(f"is {wanted} well") as step:
        checks = _need_ready(cluster, target, wanted, gate, scaled=scaled)
        checks += _need_healthy(cluster, target, wanted) if gate.ask_pods else ()
        step.note(checks[0])
    return checks


def _need_ready(
    cluster: Cluster, target: Target, wanted: str, gate: Gate, *, scaled: bool
) -> tuple[str, ...]:
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
    active = by_colour.get(other_colour(wanted))
    if active is not None and state.ready < active.ready and not gate.allow_fewer:
        more = (
            "raise autoscaling.minReplicas"
            if scaled
            else f"--set blueGreen.{wanted}.replicas={active.ready}"
        )
        raise SwitchRefused(
            f"{wanted} has {state.ready} pods, and {active.labels.get(COLOUR)}, which has the "
            f"traffic, {active.ready}",
            hint=f"{more} with invoke deploy, or --allow-fewer",
        )
    return (f"{state.ready} of {state.wanted} pods ready, {state.image}",)


def _need_healthy(cluster: Cluster, target: Target, wanted: str) -> tuple[str, ...]:
    checks: tuple[str, ...] = ()
    chosen = f"{target.selector},{COMPONENT}={SERVICE},{COLOUR}={wanted}"
    for name in running_pods(cluster, chosen):
        health, said = pod_health(cluster, name, "/readyz?verbose")
        if health is Health.UNASKED:
            return (*checks, f"pods were not asked for /readyz: {said}")
        if health is Health.UNREACHED:
            raise SwitchRefused(
                f"the cluster does not reach {name}: {said}",
                hint="does a NetworkPolicy keep it away? --no-health-check does without",
            )
        if health is Health.BAD:
            raise SwitchRefused(
                f"{name} is not well: {said}",
                hint=f"kubectl --namespace {target.namespace} logs {name}",
            )
        checks = (*checks, f"{name} answers /readyz with {said}")
    return checks


# What a switch changes.


@contextlib.contextmanager
def _values(cluster: Cluster, wanted: str) -> Iterator[Values]:
    """Yield the release's own values with another colour, as a file and a string: what is
    rendered before is what helm is given."""
    with tempfile.TemporaryDirectory(prefix="values-") as folder:
        file = Path(folder) / "release.json"
        file.write_text(json.dumps(given_values(cluster)), encoding="utf-8")
        yield Values((file,), strings=(f"blueGreen.colour={wanted}",))


def _need_selector_alone(
    cluster: Cluster,
    target: Target,
    chart: Path,
    before: Sequence[KubernetesObject],
    values: Values,
    wanted: str,
) -> tuple[Change, ...]:
    """Return what a switch changes: Services' selectors; raises `SwitchRefused` for more.

    helm has to be given a chart, and that of this checkout may be another than the release's.
    """
    text = render(
        cluster.helm,
        chart,
        values,
        cluster.runner,
        release=target.release,
        namespace=target.namespace,
        kubernetes=cluster.version(),
    )
    after = objects_of(text)
    differences = changes(before, after)
    if not _only_selectors(differences):
        others = [one for one in differences if not one.is_selector]
        shown = ", ".join(f"{one.title} {one.what}" for one in others[:TOLD])
        raise SwitchRefused(
            f"the chart here is not the release's: a switch would be more than one ({shown})",
            hint="check out the release's version, or bring the release here with invoke deploy",
        )
    found = colours_of(after)
    if found is None or found.active != wanted:
        raise SwitchRefused(
            f"the chart does not give the traffic to {wanted}", hint="is it the release's chart?"
        )
    return differences


def _only_selectors(differences: Sequence[Change]) -> bool:
    return all(one.is_selector for one in differences)
