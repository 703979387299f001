"""Why pods are not ready, read from what a cluster says of them; when waiting ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.deploy.cluster import Cluster
from pipeline.deploy.commands import Place
from pipeline.deploy.ready import not_ready
from pipeline.deploy.rollout import (
    Health,
    Trouble,
    Waited,
    last_words,
    pod_health,
    running_pods,
    states,
    wait,
)
from pipeline.deploy.target import Target
from pipeline.errors import ClusterUnavailable
from pipeline.process import Completed
from pipeline.report import Silent

SELECTOR = "app.kubernetes.io/instance=web"


def deployment(**status: Any) -> dict[str, Any]:
    counts = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    return {
        "kind": "Deployment",
        "metadata": {"name": "web", "uid": "d", "generation": 3, "labels": {"a": "b"}},
        "spec": {
            "replicas": 2,
            "template": {"spec": {"containers": [{"name": "c", "image": "web:1"}]}},
        },
        "status": {"observedGeneration": 3, **counts, **status},
    }


def replica_set(uid: str = "r", revision: int = 1) -> dict[str, Any]:
    return {
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"web-{uid}",
            "uid": uid,
            "ownerReferences": [{"uid": "d"}],
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
        },
    }


def pod(name: str = "web-1", owner: str = "r", **status: Any) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "ownerReferences": [{"uid": owner}]},
        "status": status,
    }


READY = {"conditions": [{"type": "Ready", "status": "True"}]}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": "c", "ready": False, "state": state, **more}]}


def event(name: str, reason: str, message: str, at: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    return {
        "kind": "Event",
        "type": "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
        "involvedObject": {"name": name},
    }


class Api:
    """A runner that plays kubectl for some objects."""

    def __init__(self, *found: dict[str, Any]) -> None:
        self.found = list(found)
        self.denied: tuple[str, ...] = ()
        self.away = 0

    def __call__(self, argv: tuple[str, ...], **_: Any) -> Completed:
        if self.away:
            self.away -= 1
            return Completed(argv, 1, "", "Unable to connect to the server: EOF")
        wanted = argv[argv.index("get") + 1]
        if wanted in self.denied:
            return Completed(argv, 1, "", f"Error from server (Forbidden): {wanted} is forbidden")
        kinds = {"deployments": "Deployment", "replicasets": "ReplicaSet", "pods": "Pod"}
        names = {kinds.get(name, "Event") for name in wanted.split(",")}
        items = [one for one in self.found if one["kind"] in names]
        return Completed(argv, 0, json.dumps({"kind": "List", "items": items}), "")


def cluster(api: Any) -> Cluster:
    return Cluster("helm", "kubectl", Place("web", "devices"), api)


def troubles(*found: dict[str, Any], **status: Any) -> list[str]:
    (state,) = states(cluster(Api(deployment(**status), replica_set(), *found)), SELECTOR)
    return [str(one) for one in state.troubles]


def test_what_is_ready_has_no_troubles() -> None:
    api = Api(deployment(), replica_set(), pod(**READY), pod("web-2", **READY))
    (state,) = states(cluster(api), SELECTOR)
    assert state.is_ready
    assert (state.shown, state.image, state.troubles) == ("2 of 2 ready", "web:1", ())
    assert state.labels == {"a": "b"}


@pytest.mark.parametrize(
    "status",
    [
        {"observedGeneration": 2},
        {"updatedReplicas": 1},
        {"readyReplicas": 1},
        {"availableReplicas": 1},
        {"replicas": 3},
    ],
)
def test_what_is_not_ready_yet(status: dict[str, int]) -> None:
    (state,) = states(cluster(Api(deployment(**status), replica_set())), SELECTOR)
    assert not state.is_ready


def test_old_pods_are_told_from_new_ones() -> None:
    api = Api(
        deployment(replicas=3, updatedReplicas=1),
        replica_set("old", 9),
        replica_set("new", 10),
        pod("a", "old", **READY),
        pod("b", "old", **READY),
        pod("c", "new"),
    )
    (state,) = states(cluster(api), SELECTOR)
    assert state.shown == "0 of 2 ready, 2 old to go"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            pod(**waiting("ImagePullBackOff", 'Back-off pulling image "x"')),
            'Pod web-1: ImagePullBackOff: Back-off pulling image "x"',
        ),
        (
            pod(
                **waiting(
                    "CrashLoopBackOff",
                    "back-off 40s",
                    restartCount=3,
                    lastState={"terminated": {"exitCode": 2, "reason": "Error"}},
                )
            ),
            "Pod web-1: CrashLoopBackOff (started 4 times): ended with exit code 2",
        ),
        (
            pod(
                **waiting(
                    "CrashLoopBackOff",
                    restartCount=1,
                    lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                )
            ),
            "Pod web-1: CrashLoopBackOff (started 2 times): ended by the kernel, out of memory; "
            "raise resources.limits.memory",
        ),
        (
            pod(
                containerStatuses=[
                    {
                        "name": "c",
                        "ready": False,
                        "restartCount": 0,
                        "state": {"terminated": {"exitCode": 1, "reason": "Error"}},
                    }
                ]
            ),
            "Pod web-1: Error: ended with exit code 1",
        ),
        (
            pod(
                initContainerStatuses=[
                    {"name": "i", "ready": False, "state": {"waiting": {"reason": "ErrImagePull"}}}
                ]
            ),
            "Pod web-1: ErrImagePull",
        ),
        (
            pod(
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available:\n insufficient cpu",
                    }
                ]
            ),
            "Pod web-1: Unschedulable: 0/3 nodes are available: insufficient cpu",
        ),
    ],
)
def test_a_pod_says_why(found: dict[str, Any], expected: str) -> None:
    assert troubles(found) == [expected]


def test_what_is_only_starting_is_no_trouble() -> None:
    assert troubles(pod(**waiting("ContainerCreating"))) == []
    assert troubles(pod(**waiting("PodInitializing"))) == []


def test_a_pod_that_ends_troubles_nobody() -> None:
    ending = pod(**waiting("CrashLoopBackOff"))
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert troubles(ending) == []
    assert troubles(pod(owner="somebody else's", **waiting("CrashLoopBackOff"))) == []


def test_the_last_warning_tells_what_the_status_does_not() -> None:
    running = pod(containerStatuses=[{"name": "c", "ready": False, "state": {"running": {}}}])
    found = troubles(
        running,
        event("web-1", "Unhealthy", "Readiness probe failed: 503", "2026-01-01T00:00:09Z"),
        event("web-1", "FailedMount", "older", "2026-01-01T00:00:01Z"),
        event("web-2", "Unhealthy", "another pod's"),
    )
    assert found == ["Pod web-1: Unhealthy: Readiness probe failed: 503"]


def test_who_may_not_read_events_is_told_the_rest() -> None:
    api = Api(deployment(), replica_set(), pod(**waiting("ErrImagePull", "denied")))
    api.denied = ("events",)
    (state,) = states(cluster(api), SELECTOR)
    assert [str(one) for one in state.troubles] == ["Pod web-1: ErrImagePull: denied"]


def test_a_deployment_whose_pods_are_not_made() -> None:
    quota = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota",
    }
    late = {
        "type": "Progressing",
        "status": "False",
        "reason": "ProgressDeadlineExceeded",
        "message": "has timed out",
    }
    assert troubles(conditions=[quota]) == ["Deployment web: FailedCreate: exceeded quota"]
    assert troubles(conditions=[late]) == [
        "Deployment web: ProgressDeadlineExceeded: has timed out"
    ]
    # A pod's own reason says more than that it took too long.
    assert troubles(pod(**waiting("ErrImagePull")), conditions=[late]) == [
        "Pod web-1: ErrImagePull"
    ]
    assert troubles(conditions=[{**quota, "status": "False"}, {**late, "status": "True"}]) == []


class Clock:
    """Time that passes when somebody sleeps, and what happens then."""

    def __init__(self, api: Api, **then: Any) -> None:
        self.now_s, self.api, self.then = 0.0, api, then

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        for at, found in self.then.items():
            if self.now_s == float(at.removeprefix("at_")):
                self.api.found = found


def waited(
    api: Api, timeout_s: float = 100, names: tuple[str, ...] = ("web",), **then: Any
) -> Waited:
    clock = Clock(api, **then)
    return wait(
        cluster(api), SELECTOR, names, Silent(), timeout_s=timeout_s, clock=clock, sleep=clock.sleep
    )


GOOD = [deployment(), replica_set(), pod(**READY)]


def test_waiting_ends_when_everything_is_ready() -> None:
    api = Api(deployment(readyReplicas=0), replica_set())
    found = waited(api, at_7=GOOD)
    assert found.is_ready
    assert (found.seconds, found.troubles, found.is_late) == (7.0, (), False)


def test_what_does_not_mend_itself_is_given_up_after_a_while() -> None:
    bad = [deployment(readyReplicas=0), replica_set(), pod(**waiting("ImagePullBackOff", "gone"))]
    found = waited(Api(*bad))
    assert not found.is_ready
    assert (found.seconds, found.is_late) == (20.0, False)
    assert [str(one) for one in found.troubles] == ["Pod web-1: ImagePullBackOff: gone"]
    # Mended in time: waited for.
    assert waited(Api(*bad), at_19=GOOD).is_ready


def test_what_may_mend_itself_has_all_the_time() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    found = waited(
        Api(deployment(readyReplicas=0), replica_set(), pod(conditions=[condition])), timeout_s=50
    )
    assert (found.seconds, found.is_late) == (50.0, True)
    assert [str(one) for one in found.troubles] == ["Pod web-1: Unschedulable"]


def test_a_deployment_that_is_not_there_is_waited_for() -> None:
    found = waited(Api(*GOOD), timeout_s=5, names=("web", "web-monitor"))
    assert not found.troubles
    assert found.is_late


def test_a_cluster_that_is_away_for_a_moment_is_asked_again() -> None:
    # Four times in a row, which each ask for pods and for events.
    api = Api(*GOOD)
    api.away = 4
    assert waited(api).is_ready
    api.away = 5
    with pytest.raises(ClusterUnavailable):
        waited(api)


def test_the_last_words_of_what_ended() -> None:
    asked = []

    def logs(argv: tuple[str, ...], **_: Any) -> Completed:
        asked.append(argv[argv.index("logs") :])
        return Completed(argv, 0, "\n".join(map(str, range(9))), "")

    ended = Trouble("Pod web-1", "CrashLoopBackOff", "", "c", 2, has_run=True)
    assert last_words(cluster(logs), ended) == ["4", "5", "6", "7", "8"]
    assert asked == [("logs", "web-1", "--container", "c", "--tail", "5", "--previous")]
    once = Trouble("Pod web-1", "Error", "", "c", 0, has_run=True)
    last_words(cluster(logs), once)
    assert asked[-1][-1] == "5"
    assert last_words(cluster(logs), Trouble("Pod web-1", "ErrImagePull", "", "c")) == []
    assert len(asked) == 2

    def denied(argv: tuple[str, ...], **_: Any) -> Completed:
        return Completed(argv, 1, "", "Error from server (Forbidden): pods/log is forbidden")

    assert last_words(cluster(denied), ended) == []


PROXY = "/api/v1/namespaces/devices/pods/http:web-1:8000/proxy/readyz"


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ((0, '{"status": "pass"}', ""), (Health.GOOD, "pass")),
        ((0, '{"status": "warn"}', ""), (Health.GOOD, "warn")),
        ((0, '{"status": "fail"}', ""), (Health.BAD, "fail")),
        ((0, "{}", ""), (Health.BAD, "no status")),
        ((0, "<html>", ""), (Health.BAD, "it answers '<html>'")),
        (
            (
                1,
                "",
                "Error from server (ServiceUnavailable): the server is currently unable to handle "
                "the request",
            ),
            (
                Health.BAD,
                "(ServiceUnavailable): the server is currently unable to handle the request",
            ),
        ),
        (
            (1, "", "error: You must be logged in to the server (Unauthorized)"),
            (Health.BAD, "You must be logged in to the server (Unauthorized)"),
        ),
        (
            (1, "", "Error from server (ServiceUnavailable): error trying to reach service: dial"),
            (
                Health.UNREACHED,
                "Error from server (ServiceUnavailable): error trying to reach service: dial",
            ),
        ),
        (
            (
                1,
                "",
                'Error from server (Forbidden): pods "web-1" is forbidden: User "u" cannot get '
                'resource "pods/proxy" in API group ""',
            ),
            (Health.UNASKED, "this user may not (pods/proxy)"),
        ),
    ],
)
def test_a_pod_is_asked_itself(done: tuple[int, str, str], expected: tuple[Health, str]) -> None:
    asked = []

    def answer(argv: tuple[str, ...], **_: Any) -> Completed:
        asked.append(argv[-1])
        return Completed(argv, *done)

    assert pod_health(cluster(answer), "web-1", "/readyz") == expected
    assert asked == [PROXY]


def test_pods_that_are_over_are_not_asked() -> None:
    ending = pod("ending", phase="Running")
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    api = Api(
        pod("runs", phase="Running"),
        pod("evicted", phase="Failed"),
        pod("done", phase="Succeeded"),
        ending,
    )
    assert running_pods(cluster(api), SELECTOR) == ["runs"]


def test_old_pods_in_trouble_are_no_reason_to_give_up() -> None:
    api = Api(
        deployment(readyReplicas=0, updatedReplicas=1),
        replica_set("old", 1),
        replica_set("new", 2),
        pod("a", "old", **waiting("CrashLoopBackOff")),
        pod("b", "new", **waiting("ContainerCreating")),
    )
    assert states(cluster(api), SELECTOR)[0].troubles == ()
    assert waited(api, at_40=GOOD).is_ready


def test_the_error_says_what_and_what_became_of_it() -> None:
    many = tuple(Trouble(f"Pod {n}", "ErrImagePull", "gone") for n in range(5))
    error = not_ready(Target("web"), Waited((), many, 20.0, is_late=False), "revision 1 is back")
    assert str(error) == (
        "release web is not ready: Pod 0: ErrImagePull: gone; Pod 1: ErrImagePull: gone; "
        "Pod 2: ErrImagePull: gone and 2 more; revision 1 is back"
    )
    (state,) = states(cluster(Api(deployment(readyReplicas=0), replica_set())), SELECTOR)
    late = not_ready(Target("web"), Waited((state,), (), 300.4, is_late=True), "")
    assert str(late) == "release web is not ready after 300 s: web: 0 of 2 ready"
