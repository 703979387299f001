"""What makes objects live: workloads get pods, pods get ready, services find them."""

from __future__ import annotations

from tests.standins.kubernetes.api import Api
from tests.standins.kubernetes.kubelet import Kubelet
from tests.standins.kubernetes.neighbours import Neighbours
from tests.standins.kubernetes.workloads import Workloads
from tests.standins.kubernetes.world import World


class Controllers:
    """One step looks at the whole store and moves everything as far as it can go just then."""

    def __init__(self, api: Api, delay_s: float) -> None:
        self.world = World(api, delay_s)
        self._workloads = Workloads(self.world)
        self._kubelet = Kubelet(self.world)
        self._neighbours = Neighbours(self.world)

    def step(self, moment: float) -> float | None:
        """Do what is to do at a moment; return in how many seconds there is more, or None."""
        with self.world.store.changed:
            self.world.begin(moment)
            self._workloads.step()
            self._kubelet.step()
            self._neighbours.step()
            return self.world.due_s()
