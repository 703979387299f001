"""Which images a release is to run, out of what was built: by digest, as a registry has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import shipping
from pipeline.errors import ChartInvalid, ImageMissing, NotInRegistry, OptionInvalid
from pipeline.helm.commands import Values
from pipeline.helm.docs import VALUES
from pipeline.kubernetes.objects import mapping
from pipeline.oci.layout import open_layout
from pipeline.oci.registry.reference import Reference, Repository
from pipeline.registries import open_registry
from pipeline.settings import Settings
from pipeline.yaml_text import NotYaml, load_plain

TARGETS: Mapping[str, str] = {
    "production": "image",
    "monitoring": "monitor.image",
    "redis": "redis.image",
}
"""Images of images.toml, and the chart's values that name them."""
PRODUCTION = "production"
_REPOSITORY = "image.repository"


@dataclass(frozen=True, slots=True)
class BuiltImages:
    """What is in a folder of layouts, and the repository that it was pushed to."""

    folder: Path
    repository: Repository
    is_chosen: bool
    """Whether a flag or the environment names the repository, rather than the values."""
    digests: Mapping[str, str]
    """Of each target that is built: of its index, or of its only manifest."""


def built_images(
    folder: Path,
    registry: str | None,
    values: Values,
    chart: Path,
    settings: Settings,
    environ: Mapping[str, str],
) -> BuiltImages:
    """Return the images in a folder of layouts, or in one layout of production.

    They are where `invoke push` puts them: below the registry of a flag or the environment, or
    else in the repository of the values.  Raises `ImageMissing` where there is none of
    production, and what opening a layout raises.
    """
    single = (folder / "index.json").is_file()
    layouts = {PRODUCTION: folder} if single else {name: folder / name for name in TARGETS}
    digests = {
        target: open_layout(layout).top.descriptor.digest
        for target, layout in layouts.items()
        if (layout / "index.json").is_file()
    }
    if PRODUCTION not in digests:
        raise ImageMissing(
            f"there is no image in {folder / PRODUCTION}",
            hint="make it: invoke build --platform all && invoke push --registry REGISTRY",
        )
    given = registry or shipping.configured_registry(environ)
    if given:
        repository = shipping.destination(settings, given, environ)
    else:
        repository = Repository.parse(str(value_of(values, chart, _REPOSITORY) or ""))
    return BuiltImages(folder, repository, bool(given), digests)


def check_pushed(built: BuiltImages, used: Sequence[str], *, plain_http: bool) -> None:
    """Raise `NotInRegistry` unless the registry has every image that is used."""
    with open_registry(plain_http=plain_http) as registry:
        for target in used:
            reference = Reference(built.repository, digest=built.digests[target])
            if registry.head_manifest(reference) is None:
                place = str(built.repository).rpartition("/")[0]
                raise NotInRegistry(
                    f"{reference} is not there: {target} in {built.folder} was not pushed",
                    hint=f"invoke push --registry {place} --target {target}",
                )


def check_tag(built: BuiltImages, tag: str, *, plain_http: bool) -> None:
    """Raise `ChartInvalid` for a tag in the values that names another image than what was built."""
    with open_registry(plain_http=plain_http) as registry:
        found = registry.head_manifest(Reference(built.repository, tag=tag))
    digest = built.digests[PRODUCTION]
    named = found.digest if found is not None else "not in the registry"
    if named != digest:
        raise ChartInvalid(
            f"image.tag is {tag}, which is {named}, and {built.folder} holds {digest}",
            hint="take image.tag out of the values, or leave --image-from out",
        )


def value_of(values: Values, chart: Path, path: str) -> Any:
    """Return what values give for a path, or else the chart's own values."""
    return given_value(Values((chart / VALUES, *values.files), values.settings), path)


def given_value(values: Values, path: str) -> Any:
    """Return what values files and settings give for a path such as `image.tag`; None for nothing.

    Raises `ChartInvalid` for a file that cannot be read.
    """
    found: Any = None
    for file in values.files:
        try:
            node = load_plain(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = (getattr(error, "strerror", None) or "not UTF-8").lower()
            raise ChartInvalid(f"{file} cannot be read: {reason}") from error
        except NotYaml as error:
            raise ChartInvalid(
                f"{error.place(str(file))}: not YAML: {error.reason}", hint="correct it"
            ) from error
        for key in path.split("."):
            node = mapping(node).get(key)
        found = found if node is None else node
    for text in values.settings:
        for part in text.split(","):
            key, _, value = part.partition("=")
            if key == path:
                found = value
    return found


def settings_for(
    built: BuiltImages, used: Sequence[str], colour: str | None, *, clear_colours: bool = False
) -> tuple[str, ...]:
    """Return the strings that run what was built: in a colour alone, where one is named.

    `used` are the targets that the release runs; `clear_colours` takes the images of colours
    away, so that both run that of the release.  Raises `OptionInvalid` for one that is not built.
    """
    found = []
    if clear_colours:
        found += [
            f"blueGreen.{one}.image.{key}="
            for one in ("blue", "green")
            for key in ("repository", "tag", "digest")
        ]
    for target in used:
        if target not in built.digests:
            raise OptionInvalid(
                f"the release runs {target}, and it is not in {built.folder}",
                hint=f"build and push it, too: invoke build --target {target}",
            )
        value = TARGETS[target]
        if target == PRODUCTION and colour:
            value = f"blueGreen.{colour}.image"
        found += [f"{value}.digest={built.digests[target]}", f"{value}.tag="]
        if built.is_chosen or (target == PRODUCTION and colour):
            found.append(f"{value}.repository={built.repository}")
    return tuple(found)
