"""A release that is waited for, and what is said when it does not get ready."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from pipeline.deploy.cluster import Cluster
from pipeline.deploy.release import deployments_of
from pipeline.deploy.rollout import Waited, last_words, wait
from pipeline.deploy.target import Target
from pipeline.errors import RolloutFailed
from pipeline.kubernetes.objects import KubernetesObject
from pipeline.report import Progress

TOLD = 3
"""How many reasons are in an error's one line; all of them are printed before."""


def wait_for(
    cluster: Cluster,
    target: Target,
    objects: Sequence[KubernetesObject],
    progress: Progress,
    timeout_s: float,
) -> Waited:
    """Wait until the Deployments among `objects` are ready, or cannot get there."""
    names = [found.name for found in deployments_of(objects)]
    with going_on(target):
        return wait(cluster, target.selector, names, progress, timeout_s=timeout_s)


@contextlib.contextmanager
def going_on(target: Target) -> Iterator[None]:
    """Have Ctrl-C say that the cluster goes on without this command."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"the cluster goes on; invoke deploy.status --release {target.release} "
            f"--namespace {target.namespace}"
        ) from None


def explain(cluster: Cluster, waited: Waited, progress: Progress) -> None:
    """Say every reason, with the end of the log of what ended."""
    for trouble in waited.troubles:
        progress.say(str(trouble))
        for line in last_words(cluster, trouble):
            progress.say(f"  {line}")


def not_ready(target: Target, waited: Waited, back: str) -> RolloutFailed:
    """Return the error for a release that is not ready; `back` is what became of it."""
    told = [str(trouble) for trouble in waited.troubles[:TOLD]]
    more = len(waited.troubles) - len(told)
    if not told:
        told = [f"{state.name}: {state.shown}" for state in waited.states if not state.is_ready]
    late = f" after {waited.seconds:.0f} s" if waited.is_late else ""
    rest = f" and {more} more" if more > 0 else ""
    return RolloutFailed(
        f"release {target.release} is not ready{late}: {'; '.join(told)}{rest}",
        hint=back,
    )
