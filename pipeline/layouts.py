"""Which layouts on disk a command is about: flags in, folders and images out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import commands
from pipeline.atomic import writing
from pipeline.contents import StoredImage, layout_images, missing_platform
from pipeline.errors import ImageMissing, OptionInvalid
from pipeline.flags import values_of
from pipeline.oci.layout import open_layout, platform_folder, write_views
from pipeline.platforms import Platform
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class BuiltLayout:
    """A layout and what it is an image of."""

    tag: str
    """The layout's own name: a target, with the suite where it is not the default."""
    target: str | None
    """The target, None when the description has none of that name."""
    folder: Path

    def view(self, platform: Platform) -> Path:
        """Return the layout of one platform alone.

        One that is not there is written: what keeps no links, such as an artifact of a workflow,
        leaves them out.
        """
        view = self.folder / platform_folder(platform)
        if not (view / "blobs").is_dir() or not (view / "index.json").is_file():
            with writing(view):
                write_views(self.folder, open_layout(self.folder))
        return view

    def images(self, asked: Sequence[str]) -> tuple[StoredImage, ...]:
        """Return the images for the platforms of the flags, by default all.

        Raises `ImageMissing` for one that is not built, and what `layout_images` raises.
        """
        present = {image.platform: image for image in layout_images(self.folder)}
        wanted = Platform.parse_many(asked) if asked else tuple(present)
        if asked and any(spelling.strip().lower() == commands.ALL for spelling in asked):
            wanted = tuple(present)
        for platform in wanted:
            if platform not in present:
                raise missing_platform(platform, str(self.folder), tuple(present))
        return tuple(present[platform] for platform in wanted)


def choose_layouts(
    settings: Settings, images: Path | None, targets: Sequence[str], *, default: str
) -> tuple[BuiltLayout, ...]:
    """Return the layouts of the flags; `default` is the target where none is named.

    `images` is a folder of layouts, or one layout; `all` is what is built, of every suite.
    Raises `ImageMissing`, `OptionInvalid` and `UnknownTarget`.
    """
    folder = images or commands.OUTPUT
    if (folder / "index.json").exists():
        if targets:
            raise OptionInvalid(
                f"{folder} is one image, and --target names others",
                hint="leave --target out, or give a folder of layouts with --images",
            )
        tag = open_layout(folder).tag
        return (BuiltLayout(tag, target_of(tag, settings), folder),)
    asked = values_of(targets) or [default]
    chosen = []
    for target in commands.choose_targets(settings, asked):
        tags = [target]
        if commands.ALL in asked and target not in asked:
            tags = [target, *(f"{target}-{suite}" for suite in settings.suites)]
            tags = [tag for tag in tags if (folder / tag / "index.json").exists()]
        for tag in tags:
            if not (folder / tag / "index.json").exists():
                raise ImageMissing(
                    f"there is no image in {folder / tag}",
                    hint=f"build it: invoke build --target {target}",
                )
            chosen.append(BuiltLayout(tag, target, folder / tag))
    if not chosen:
        raise ImageMissing(f"there is no image in {folder}", hint="build one first: invoke build")
    return tuple(chosen)


def target_of(tag: str, settings: Settings) -> str | None:
    """Return the target that a layout's tag names, with or without a suite."""
    if tag in settings.images:
        return tag
    for suite in settings.suites:
        target = tag.removesuffix(f"-{suite}")
        if target != tag and target in settings.images:
            return target
    return None
