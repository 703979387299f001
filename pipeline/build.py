"""A plan turned into images: download, assemble layers, check, write layouts.

Layers are built side by side, each once whatever number of images share it.  An image
that is unchanged costs the reading of its blobs; nothing is taken on trust.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.assemble import LayerFacts, entries_of, facts_of
from pipeline.bases import LockedBase, OpenRegistry, anonymous_registry, fetch_layers
from pipeline.cache import Cache, key_of
from pipeline.entries import Spool
from pipeline.errors import ImageInvalid
from pipeline.fetch import fetch_all
from pipeline.lock import LockedPackage
from pipeline.oci.archive import new_archive
from pipeline.oci.image import Format, ImageDocuments, ImageLayer, image_documents
from pipeline.oci.layer import check_compressor, write_layer
from pipeline.oci.layout import NamedImage, write_layout
from pipeline.plan import ImagePlan, Plan, builder_digest
from pipeline.platforms import Platform
from pipeline.recipe import Recipe
from pipeline.report import Progress
from pipeline.sources.bytecode import Interpreter, find_interpreter
from pipeline.sources.closure import check_closure
from pipeline.sources.debian.archive import pool_download
from pipeline.sources.elf import LinkFacts
from pipeline.sources.requirements import LockedWheel, download_wheels

DAEMONLESS = "daemonless"
WORKERS = 2
_NAMED_PROBLEMS = 3

Mirrors = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class BuiltLayer:
    """A layer in the cache. Digests are "sha256:" + 64 hex digits."""

    kind: str
    summary: str
    digest: str
    diff_id: str
    size_bytes: int
    unpacked_bytes: int
    files: int
    reused: bool
    """Whether it was in the cache before."""
    facts: str
    """The SHA-256 of the blob with its `LayerFacts`."""


@dataclass(frozen=True, slots=True)
class BuiltPlatform:
    """One platform of a built image."""

    platform: Platform
    config_digest: str
    manifest_digest: str
    layers: tuple[BuiltLayer, ...]
    glibc: str
    """The newest GLIBC version that anything in it asks for, such as `2.36`; empty where
    nobody looked."""

    @property
    def size_bytes(self) -> int:
        """Compressed size of its layers."""
        return sum(layer.size_bytes for layer in self.layers)

    @property
    def unpacked_bytes(self) -> int:
        """Length of its layers' tars."""
        return sum(layer.unpacked_bytes for layer in self.layers)


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """One target: its digest names the index, or the manifest of its only platform."""

    target: str
    name: str
    digest: str
    output: Path | None
    platforms: tuple[BuiltPlatform, ...]
    engine: str = DAEMONLESS


@dataclass(frozen=True, slots=True)
class MadeImage:
    """One target whose layers are in the cache, before it is written anywhere."""

    target: str
    named: NamedImage
    platforms: tuple[BuiltPlatform, ...]
    engine: str = DAEMONLESS


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did."""

    images: tuple[BuiltImage, ...]
    archive: Path | None
    seconds: float
    damaged: tuple[str, ...]
    """Cache entries that were found damaged, and made again."""

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "seconds": round(self.seconds, 3),
            "archive": str(self.archive) if self.archive else None,
            "cache_repaired": list(self.damaged),
            "images": [
                {
                    "target": image.target,
                    "name": image.name,
                    "digest": image.digest,
                    "output": str(image.output) if image.output else None,
                    "engine": image.engine,
                    "platforms": [_platform_report(part) for part in image.platforms],
                }
                for image in self.images
            ],
        }


def _platform_report(part: BuiltPlatform) -> dict[str, Any]:
    return {
        "platform": str(part.platform),
        "digest": part.manifest_digest,
        "config_digest": part.config_digest,
        "size_bytes": part.size_bytes,
        "unpacked_bytes": part.unpacked_bytes,
        "glibc": part.glibc or None,
        "layers": [
            {
                "kind": layer.kind,
                "summary": layer.summary,
                "digest": layer.digest,
                "diff_id": layer.diff_id,
                "size_bytes": layer.size_bytes,
                "unpacked_bytes": layer.unpacked_bytes,
                "files": layer.files,
                "reused": layer.reused,
            }
            for layer in part.layers
        ],
    }


@dataclass(frozen=True, slots=True)
class Output:
    """Where a build's images go. `folder` gets a layout a target; `archive` one tar."""

    folder: Path | None
    archive: Path | None
    format: Format
    preferred: Platform
    """The platform that gets the plain tag in the archive."""
    sparse: bool = False
    """Whether layers of a base from a registry stay there: `push` mounts them."""


def is_cached(recipe: Recipe, cache: Cache) -> bool:
    """Return whether the layer of `recipe` can be taken from the cache, by its looks."""
    record = cache.record("layers", recipe.key)
    return record is not None and cache.has(
        record["digest"].removeprefix("sha256:"), record["size_bytes"]
    )


def build(
    plan: Plan,
    cache: Cache,
    output: Output,
    *,
    mirrors: Mirrors,
    host: Platform | None,
    progress: Progress,
    open_registry: OpenRegistry = anonymous_registry,
    by_others: Callable[[], Sequence[MadeImage]] = tuple,
) -> BuildReport:
    """Build everything in `plan` and write it to `output`.

    `open_registry` gives access to registries, for layers of base images that the cache does
    not have; `by_others` makes the images that another engine builds.  Raises what downloading
    and assembling raise, `ImageInvalid` when an image could not run, and `OutputUnwritable`;
    then nothing of the output has changed.
    """
    begin = time.monotonic()
    check_compressor()
    with cache.in_use():
        made: list[MadeImage] = []
        layers = _build_layers(plan, cache, mirrors=mirrors, host=host, progress=progress)
        if not output.sparse:
            _fetch_bases(plan, cache, open_registry, progress)
        for target in dict.fromkeys(image.target for image in plan.images):
            images = [image for image in plan.images if image.target == target]
            glibcs = [_check(image, layers, cache) for image in images]
            named, platforms = _name(plan, images, layers, glibcs, output.format)
            made.append(MadeImage(target, named, platforms))
        made += by_others()
        absent = _left_in_registries(plan) if output.sparse else frozenset()
        return _write(made, cache, output, progress, begin=begin, absent=absent)


def _write(
    made: Sequence[MadeImage],
    cache: Cache,
    output: Output,
    progress: Progress,
    *,
    begin: float,
    absent: Collection[str] = (),
) -> BuildReport:
    """Write images to `output`; raises `OutputUnwritable`.

    `begin` is when the build began, on the monotonic clock; `absent` are the digests of
    layers that layouts do without.
    """

    def blob(digest: str) -> Path:
        return cache.blob_path(digest.removeprefix("sha256:"))

    with contextlib.ExitStack() as archive:
        # The archive is written first and put in place last: either output may fail,
        # and then both are as they were.
        if output.archive is not None:
            with progress.step(f"archive {output.archive}"):
                named = [image.named for image in made]
                archive.enter_context(
                    new_archive(output.archive, named, blob, preferred=output.preferred)
                )
        if output.folder is not None:
            for image in made:
                write_layout(output.folder / image.named.tag, image.named, blob, absent=absent)
    return BuildReport(
        images=tuple(
            BuiltImage(
                target=image.target,
                name=f"{image.named.repository}:{image.named.tag}",
                digest=image.named.top.descriptor.digest,
                output=output.folder / image.named.tag if output.folder else None,
                platforms=image.platforms,
                engine=image.engine,
            )
            for image in made
        ),
        archive=output.archive,
        seconds=time.monotonic() - begin,
        # Two layers may be one blob, found damaged twice.
        damaged=tuple(dict.fromkeys(cache.damaged)),
    )


def _name(
    plan: Plan,
    images: Sequence[ImagePlan],
    layers: Mapping[str, BuiltLayer],
    glibcs: Sequence[str],
    format: Format,
) -> tuple[NamedImage, tuple[BuiltPlatform, ...]]:
    """Return the documents of one target, and what the report says of it."""
    target = images[0].target
    documents: list[ImageDocuments] = []
    platforms: list[BuiltPlatform] = []
    for image, glibc in zip(images, glibcs, strict=True):
        built = tuple(layers[recipe.key] for recipe in image.layers)
        done = image_documents(
            image.platform,
            image.configuration,
            _image_layers(image.base, built),
            created_s=plan.created_s,
            format=format,
            annotations=plan.annotations[target],
        )
        documents.append(done)
        platforms.append(
            BuiltPlatform(
                platform=image.platform,
                config_digest=done.config.descriptor.digest,
                manifest_digest=done.manifest.descriptor.digest,
                layers=(*_base_layers(image.base), *built),
                glibc=glibc,
            )
        )
    return (
        NamedImage(
            repository=plan.settings.name,
            tag=plan.tag(target),
            images=tuple(documents),
            format=format,
            annotations=plan.annotations[target],
        ),
        tuple(platforms),
    )


def _image_layers(base: LockedBase | None, built: Sequence[BuiltLayer]) -> list[ImageLayer]:
    lower = [layer.image_layer for layer in base.layers] if base is not None else []
    return lower + [
        ImageLayer(layer.digest, layer.diff_id, layer.size_bytes, f"{layer.kind}: {layer.summary}")
        for layer in built
    ]


def _base_layers(base: LockedBase | None) -> list[BuiltLayer]:
    """Return what the report says of the layers of a base from a registry."""
    if base is None:
        return []
    return [
        BuiltLayer(
            kind="registry",
            summary=base.reference,
            digest=layer.digest,
            diff_id=layer.diff_id,
            size_bytes=layer.size_bytes,
            unpacked_bytes=layer.unpacked_bytes,
            files=layer.files,
            reused=True,
            facts="",
        )
        for layer in base.layers
    ]


def _left_in_registries(plan: Plan) -> frozenset[str]:
    """Return the digests of the layers of bases from registries."""
    return frozenset(
        layer.digest for image in plan.images if image.base for layer in image.base.layers
    )


def _fetch_bases(plan: Plan, cache: Cache, open_registry: OpenRegistry, progress: Progress) -> None:
    """Bring the layers of bases from registries into the cache."""
    for image in plan.images:
        if image.base is not None:
            layers = [layer.image_layer for layer in image.base.layers]
            fetch_layers(image.base.reference, layers, cache, open_registry, progress)


def _build_layers(
    plan: Plan, cache: Cache, *, mirrors: Mirrors, host: Platform | None, progress: Progress
) -> Mapping[str, BuiltLayer]:
    """Return every layer of the plan by its key."""
    recipes = plan.recipes()
    found = _reuse(recipes, cache)
    missing = [recipe for recipe in recipes if recipe.key not in found]
    if not missing:
        return found
    compiler = _interpreter_packages(plan, missing, host)
    _download(plan, missing, compiler, cache, mirrors=mirrors, progress=progress)
    interpreter: Interpreter | None = None
    if any(recipe.bytecode for recipe in missing):
        interpreter = find_interpreter(
            plan.suite.python,
            locked={package.name: package.sha256 for package in compiler},
            cache=cache,
            host=host,
        )
    stop = threading.Event()
    running: dict[str, Future[BuiltLayer]] = {}

    def work(recipe: Recipe) -> BuiltLayer:
        below = [_base_facts(recipe.base)] if recipe.base is not None else []
        for lower in recipe.below:
            built = found.get(lower.key) or running[lower.key].result()
            below.append(_read_facts(built, cache))
        if stop.is_set():
            raise KeyboardInterrupt
        with progress.step(f"{recipe.image} {recipe.platform}: {recipe.kind}") as step:
            layer = _build_layer(recipe, cache, interpreter, below, plan.settings.root, stop)
            step.note(f"{layer.size_bytes / 1e6:.1f} MB")
        return layer

    # The pool takes recipes in order, and each follows those below it: no worker waits for
    # work that has not begun.
    pool = ThreadPoolExecutor(WORKERS)
    try:
        for recipe in missing:
            running[recipe.key] = pool.submit(work, recipe)
        wait(running.values(), return_when=FIRST_EXCEPTION)
        found.update({key: future.result() for key, future in _failed_first(running)})
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    return found


def _failed_first(
    running: Mapping[str, Future[BuiltLayer]],
) -> Iterable[tuple[str, Future[BuiltLayer]]]:
    """Yield futures with an error before the others, so that the error is what is raised."""
    return sorted(
        running.items(), key=lambda item: not (item[1].done() and item[1].exception() is not None)
    )


def _reuse(recipes: Sequence[Recipe], cache: Cache) -> dict[str, BuiltLayer]:
    """Return the layers that the cache has, each read through and found whole."""

    def look_up(recipe: Recipe) -> BuiltLayer | None:
        record = cache.record("layers", recipe.key)
        if record is None or cache.verified(record["digest"].removeprefix("sha256:")) is None:
            return None
        if cache.verified(record["facts"]) is None:
            return None
        return BuiltLayer(kind=recipe.kind, summary=recipe.summary, reused=True, **record)

    with ThreadPoolExecutor(WORKERS) as pool:
        layers = pool.map(look_up, recipes)
        return {recipe.key: layer for recipe, layer in zip(recipes, layers, strict=True) if layer}


def _build_layer(
    recipe: Recipe,
    cache: Cache,
    interpreter: Interpreter | None,
    below: Sequence[LayerFacts],
    root: Path,
    stop: threading.Event,
) -> BuiltLayer:
    with Spool(cache.temporary_folder(), stopped=stop.is_set) as spool:
        entries = entries_of(recipe, cache, spool, interpreter, below, root)
        facts = facts_of(entries)
        with cache.new_blob() as blob:
            written = write_layer(entries, blob.file, epoch_s=recipe.epoch_s)
            blob.keep(written.digest.removeprefix("sha256:"))
    record: dict[str, Any] = {
        "digest": written.digest,
        "diff_id": written.diff_id,
        "size_bytes": written.size_bytes,
        "unpacked_bytes": written.unpacked_bytes,
        "files": len(entries),
        "facts": _store_facts(facts, cache),
    }
    cache.write_record("layers", recipe.key, record)
    return BuiltLayer(kind=recipe.kind, summary=recipe.summary, reused=False, **record)


def _store_facts(facts: LayerFacts, cache: Cache) -> str:
    import json

    document = {"links": facts.links.to_json(), "accounts": dict(facts.accounts)}
    return cache.store(json.dumps(document, sort_keys=True).encode())


def _read_facts(layer: BuiltLayer, cache: Cache) -> LayerFacts:
    import json

    document = json.loads(cache.blob_path(layer.facts).read_bytes())
    return LayerFacts(LinkFacts.from_json(document["links"]), document["accounts"])


def _base_facts(base: LockedBase) -> LayerFacts:
    return LayerFacts(base.facts.links, base.facts.accounts)


def _check(image: ImagePlan, layers: Mapping[str, BuiltLayer], cache: Cache) -> str:
    """Raise `ImageInvalid` unless every ELF file could be loaded; return the GLIBC it needs."""
    built = [layers[recipe.key] for recipe in image.layers]
    suite = image.suite
    # Another limit, or other code that checks, may come to another verdict.
    judge = [builder_digest(), str(image.platform), list(suite.glibc)]
    lower: list[LinkFacts] = []
    if image.base is not None:
        judge.append(image.base.manifest_digest)
        lower.append(image.base.facts.links)
    key = key_of([*judge, [layer.diff_id for layer in built]])
    if (record := cache.record("checked", key)) is not None:
        return str(record["glibc"])
    report = check_closure(
        [*lower, *(_read_facts(layer, cache).links for layer in built)],
        image.platform,
        glibc=suite.glibc,
        # Whether the base itself is complete is not for us to say, or to mend.
        ignore=frozenset(path for facts in lower for path in facts.files),
    )
    if report.problems:
        named = "; ".join(report.problems[:_NAMED_PROBLEMS])
        more = len(report.problems) - _NAMED_PROBLEMS
        raise ImageInvalid(
            f"'{image.target}' for {image.platform} would not run: {named}"
            + (f"; and {more} more" if more > 0 else ""),
            hint="add the package that has the library, or leave the file out with 'exclude'",
        )
    glibc = ".".join(str(part) for part in report.newest_glibc or ())
    cache.write_record("checked", key, {"glibc": glibc})
    return glibc


def _interpreter_packages(
    plan: Plan, missing: Sequence[Recipe], host: Platform | None
) -> tuple[LockedPackage, ...]:
    if host is None or not any(recipe.bytecode for recipe in missing):
        return ()
    return plan.images[0].interpreter


def _download(
    plan: Plan,
    missing: Sequence[Recipe],
    compiler: Sequence[LockedPackage],
    cache: Cache,
    *,
    mirrors: Mirrors,
    progress: Progress,
) -> None:
    """Bring what the missing layers are made of into the cache, verified."""
    packages = {p.sha256: p for recipe in missing for p in recipe.packages}
    packages.update({package.sha256: package for package in compiler})
    absent = [p for p in packages.values() if cache.verified(p.sha256) is None]
    if absent:
        total = sum(package.size_bytes for package in absent)
        title = f"download {len(absent)} Debian packages"
        with progress.step(title, total_bytes=total) as step:
            fetch_all(
                [pool_download(package, mirrors) for package in absent],
                cache.new_blob_path,
                _advancing(step.advance),
            )
            step.note(f"{total / 1e6:.1f} MB")
    wheels: dict[tuple[Platform, str], LockedWheel] = {}
    for recipe in missing:
        wheels.update({(recipe.platform, wheel.sha256): wheel for wheel in recipe.wheels})
    for platform in dict.fromkeys(platform for platform, _ in wheels):
        wanted = [wheel for (of, _), wheel in wheels.items() if of is platform]
        absent_wheels = [wheel for wheel in wanted if cache.verified(wheel.sha256) is None]
        if absent_wheels:
            with progress.step(f"download {len(absent_wheels)} wheels for {platform}"):
                download_wheels(absent_wheels, plan.suite, platform, cache)


def _advancing(advance: Callable[[float], None]) -> Callable[[str, int], None]:
    """Turn "this much of this file is there" into "this much more is there"."""
    seen: dict[str, int] = {}

    def on_progress(name: str, size_bytes: int) -> None:
        advance(size_bytes - seen.get(name, 0))
        seen[name] = size_bytes

    return on_progress


def with_output(report: BuildReport, folder: Path) -> BuildReport:
    """Return the report with its paths relative to `folder` where they are below it."""

    def shown(path: Path | None) -> Path | None:
        if path is not None and path.is_relative_to(folder):
            return path.relative_to(folder)
        return path

    images = tuple(replace(image, output=shown(image.output)) for image in report.images)
    return replace(report, images=images, archive=shown(report.archive))
