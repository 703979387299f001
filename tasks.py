"""The tasks of this repository, as `invoke --list` prints them."""

from invoke import Collection

from pipeline.tasks import (
    ci,
    compare,
    compose,
    deploy,
    dockerfile,
    helm,
    images,
    kubernetes,
    load,
    machine,
    matrix,
    monitor,
    release,
    ship,
    tags,
    trust,
)

namespace = Collection(
    images.build,
    images.lock,
    images.images,
    load.load,
    ship.push,
    ship.manifest,
    ship.pull,
    tags.tags,
    matrix.matrix,
    compare.diff,
    dockerfile.dockerfile,
    trust.scan,
    trust.audit,
    trust.sbom,
    trust.sign,
    trust.verify,
    trust.rebuild,
    compose.collection,
    helm.collection,
    kubernetes.collection,
    deploy.collection,
    ci.collection,
    monitor.monitor,
    release.collection,
    machine.cache,
    machine.doctor,
    machine.tools,
)
namespace.configure({"run": {"echo": True}})
