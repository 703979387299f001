"""Which release is meant."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.deploy.commands import Place


@dataclass(frozen=True, slots=True)
class Target:
    """Where a release is, as flags say it."""

    release: str = "accelerapp"
    namespace: str = "accelerapp"
    context: str = ""

    @property
    def place(self) -> Place:
        return Place(self.release, self.namespace, self.context)

    @property
    def selector(self) -> str:
        return f"app.kubernetes.io/instance={self.release}"
