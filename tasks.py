"""The tasks of this repository, as `invoke --list` prints them."""

from invoke import Collection

from pipeline.tasks import images, machine

namespace = Collection(
    images.build,
    images.lock,
    images.images,
    machine.cache,
    machine.doctor,
)
namespace.configure({"run": {"echo": True}})
