"""A stand-in for a Kubernetes cluster: an API server that real clients do their work against.

    with running_cluster() as cluster:
        kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig")
        subprocess.run(("helm", "install", …, "--wait"), env={"KUBECONFIG": str(kubeconfig)})
        assert cluster.changes() == ["PATCH deployments/web"]

Helm 3 and 4 and kubectl discover it, create, patch and apply on the server's side, watch, roll
back, and ask what they may do. Behind it the controllers of kube-controller-manager are played:
deployments roll, services find ready pods, jobs end. The knobs of `Cluster` let images be
missing, containers crash, requests be forbidden or unanswered; its record tells what clients
did.

What it is not: there is no scheduler (every pod runs on the one node, whatever it asks for), no
kubelet and no container (nothing is started, no probe is run, and no exec, attach, port-forward
or eviction is answered), no real admission chain (no webhooks, quotas, limit ranges or policies;
of the server's own rules and of Pod Security a selection), no schemas but those that `validate`
brings, no real authorization (what is not denied is allowed), no TLS, no protobuf but of the few
kinds that helm and kubectl send, no tables, no aggregated discovery, no schemas to `explain`, no
list in pages, and no etcd: it forgets everything. What is deleted is gone at once. Only a real
cluster shows whether an image runs, and what traffic does meanwhile.

Clients keep what they discover by host and port: give them a HOME, or a KUBECACHEDIR, of the
test's own.

    server       HTTP: routes, authorization, watches, proxies, the record
    api          what a request does: admission, ownership of fields, conflicts
    controllers  what happens to objects by themselves: workloads, kubelet, neighbours
    cluster      the knobs, the record as tests read it
"""

from tests.standins.kubernetes.cluster import Cluster, running_cluster
from tests.standins.kubernetes.server import Request

__all__ = ["Cluster", "Request", "running_cluster"]
