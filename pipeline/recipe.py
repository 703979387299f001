"""`Recipe`: what one layer is made of, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.bases import LockedBase
from pipeline.lock import LockedPackage
from pipeline.platforms import Platform
from pipeline.settings import File, Suite, User
from pipeline.sources.project import ProjectWheel
from pipeline.sources.requirements import LockedWheel


@dataclass(frozen=True, slots=True)
class Recipe:
    """One layer: what goes in, and the key that names the result."""

    kind: str
    """`base`, `packages`, `dependencies` or `application`."""
    image: str
    platform: Platform
    suite: Suite
    epoch_s: int
    key: str
    below: tuple[Recipe, ...]
    """The layers under this one, the lowest first."""
    packages: tuple[LockedPackage, ...] = ()
    exclude: tuple[str, ...] = ()
    wheels: tuple[LockedWheel, ...] = ()
    project: ProjectWheel | None = None
    files: tuple[File, ...] = ()
    directories: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    user: User = field(default_factory=User)
    new_user: bool = False
    """Whether this layer adds the user to the accounts."""
    bytecode: bool = True
    base: LockedBase | None = None
    """The image from a registry that all of it stands on."""

    @property
    def summary(self) -> str:
        """What goes in, in a few words."""
        parts = []
        if self.packages:
            parts.append(f"{len(self.packages)} Debian packages")
        if self.wheels:
            parts.append(", ".join(f"{wheel.name} {wheel.version}" for wheel in self.wheels[:6]))
            if len(self.wheels) > 6:
                parts[-1] += f" and {len(self.wheels) - 6} more wheels"
        if self.project is not None:
            metadata = self.project.metadata
            parts.append(f"{metadata.name} {metadata.version}")
        if self.files:
            parts.append(f"{len(self.files)} files or folders of the repository")
        if self.directories:
            parts.append(" ".join(self.directories))
        return "; ".join(parts) or "links"
