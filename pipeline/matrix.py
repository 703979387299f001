"""The matrix of a workflow that builds the images: what each of its jobs builds, and where.

Nothing of an image is run while it is built, so one machine builds every platform.  On `native`
runners each platform has a job and a machine of its own, for targets that Docker builds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import commands
from pipeline.errors import EngineUnsuitable
from pipeline.flags import known_values, values_of
from pipeline.platforms import Platform
from pipeline.settings import Settings, read_settings

ONE = "one"
NATIVE = "native"
RUNNERS = {Platform.AMD64: "ubuntu-24.04", Platform.ARM64: "ubuntu-24.04-arm"}
"""GitHub's machines, by what they are."""


@dataclass(frozen=True, slots=True)
class MatrixJob:
    """One job: a target, for one platform or several."""

    target: str
    platforms: tuple[Platform, ...]
    runner: str
    name: str
    """Of the job and of what it hands over: no two have the same."""

    def to_json(self) -> dict[str, str]:
        """Return it as an entry of `include`: a string a key, as workflows take them."""
        return {
            "name": self.name,
            "target": self.target,
            "platform": ",".join(platform.architecture for platform in self.platforms),
            "runner": self.runner,
        }


def make_matrix(
    targets: Sequence[str], platforms: Sequence[str], runners: str = ONE
) -> tuple[MatrixJob, ...]:
    """Return the jobs for targets (every image that is not only a base, by default) and platforms
    (all that the description names, by default), on `one` machine for all platforms or on
    `native` ones.

    Raises `OptionInvalid` for other runners, `UnknownTarget`, `UnsupportedPlatform`, and
    `EngineUnsuitable` for a platform that GitHub has no machine for.
    """
    (kind,) = known_values("runners", [runners], (ONE, NATIVE)) or (ONE,)
    settings = read_settings(commands.ROOT)
    # A workflow passes on what a person left empty.
    named = values_of(targets)
    chosen = commands.choose_targets(settings, named) if named else shipped(settings)
    wanted = commands.described_platforms(settings, values_of(platforms) or [commands.ALL])
    if kind == ONE:
        first = RUNNERS[Platform.AMD64]
        return tuple(MatrixJob(target, wanted, first, target) for target in chosen)
    for platform in wanted:
        if platform not in RUNNERS:
            raise EngineUnsuitable(
                f"GitHub has no machine for {platform}",
                hint="use '--runners one': images are built without running anything of them",
            )
    return tuple(
        MatrixJob(target, (platform,), RUNNERS[platform], f"{target}-{platform.architecture}")
        for target in chosen
        for platform in wanted
    )


def shipped(settings: Settings) -> tuple[str, ...]:
    """Return the targets that go to a registry: all but those that run nothing by themselves."""
    return tuple(
        image.name
        for image in (settings.merged(name) for name in settings.images)
        if image.entrypoint or image.command
    )


def to_json(jobs: Sequence[MatrixJob]) -> dict[str, Any]:
    """Return the matrix as `strategy.matrix` takes it."""
    return {"include": [job.to_json() for job in jobs]}
