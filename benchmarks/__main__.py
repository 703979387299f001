"""`nox -s bench [-- NAME …]`: build, push, floor, start, buildkit, monitor, service.

`nox -s bench -- compare --base REF` compares two commits instead (`benchmarks/compare.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import buildkit, compare, containers, floor
from benchmarks.builder import Builder
from benchmarks.monitor import bench_monitor
from benchmarks.pairs import measure, repeat
from benchmarks.registry import large_layout, registry
from benchmarks.service import bench_service
from pipeline.platforms import Platform
from pipeline.report import print_table

HEAD = ("what", "ours", "theirs", "ratio", "range")


def bench_build(builder: Builder, runs: int) -> None:
    """The whole command, from cached downloads, unchanged, and with changed code."""
    rows = []
    for name, before in (
        ("both platforms, downloads cached, layers not", builder.forget_layers),
        ("nothing changed", builder.forget_nothing),
        ("application's code changed", builder.change_application),
    ):
        seconds = repeat(builder.build_all, runs, before)
        rows.append((name, f"{statistics.median(seconds):.2f} s", f"{max(seconds):.2f} s"))
    print_table(("invoke build --platform all", "median", "slowest"), rows)
    print()
    builder.forget_layers()
    print_table(
        ("image", "compressed", "unpacked", "peak memory of the build"),
        [(*row, builder.peak_memory()) for row in builder.sizes()],
    )


def bench_floor(builder: Builder, runs: int) -> None:
    """Against reading, tarring, compressing and hashing the same bytes, and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        trees = floor.unpack(builder, Path(folder))

        def ours() -> None:
            builder.forget_layers()
            builder.build_all()

        pairs = measure(ours, lambda: floor.run(trees), runs)
    print_table(HEAD, [pairs.line("both platforms / the floor (closer to 1 is better)")])


def bench_buildkit(builder: Builder, runs: int) -> None:
    """Against BuildKit on the same packages and wheels, without its cache."""
    with buildkit.docker() as docker:
        if docker is None:
            print("buildkit: not measured, no Docker Engine answers (DOCKER_HOST, .ci/host.sh up)")
            return
        rows = []
        for platform in Platform:
            context = buildkit.prepare(docker, builder, platform)
            if context is None:
                print(f"buildkit, {platform}: not measured, mmdebstrap is not installed")
                continue

            def ours(platform: Platform = platform) -> None:
                builder.forget_layers()
                builder.build(platform)

            def theirs(platform: Platform = platform, context: Path = context) -> None:
                buildkit.build(docker, context, platform)

            emulated = "" if platform is Platform.host() else " under QEMU"
            pairs = measure(ours, theirs, runs)
            rows.append(pairs.line(f"{platform} / BuildKit{emulated}"))
        if rows:
            print_table(HEAD, rows)


def bench_start(builder: Builder, runs: int) -> None:
    """`accelerapp info` in a container, against the same image without bytecode."""
    with buildkit.docker() as docker:
        if docker is None:
            print("start: not measured, no Docker Engine answers (DOCKER_HOST, .ci/host.sh up)")
            return
        with_bytecode, without = containers.variants(docker, builder)
        pairs = measure(
            lambda: containers.info(docker, with_bytecode),
            lambda: containers.info(docker, without),
            max(runs, 10),
        )
    print_table(HEAD, [pairs.line("accelerapp info, inside / without bytecode")])


def bench_push(builder: Builder, runs: int) -> None:
    """To a registry on loopback: changed code, nothing new, and a layer of 1 GB."""
    with registry() as address, tempfile.TemporaryDirectory() as folder:
        if address is None:
            print("push: not measured, docker-registry is not installed (.ci/host.sh up)")
            return
        push = ("push", "--registry", address, "--tag", "bench", "--json")

        def rebuild_and_push() -> None:
            builder.build_all()
            builder.invoke(*push)

        builder.build_all()
        builder.invoke(*push)
        changed = repeat(rebuild_and_push, runs, builder.change_application)
        builder.change_application()
        builder.build_all()
        report = json.loads(builder.invoke(*push))
        unchanged = repeat(lambda: builder.invoke(*push) and None, runs, builder.forget_nothing)
        print_table(
            ("both platforms", "median", "slowest"),
            [
                ("changed code: build and push", *_seconds(changed)),
                ("push of what is there", *_seconds(unchanged)),
            ],
        )
        print(f"\nchanged code sent: {sent_bytes(report)} bytes")
        layout = large_layout(Path(folder), 1 << 30)
        # Noise is no image with packages: there is nothing to say of it.
        memory = builder.memory_of("push", "--images", str(layout), "--no-attach", *push[1:])
        print(f"memory of a push of 1 GB: {memory}")
        if shutil.which("skopeo") is None:
            print("against skopeo: not measured, it is not installed")
            return
        source = f"oci:{builder.tree}/dist/images/production:production"
        copy = ("skopeo", "copy", "--all", "--quiet", "--dest-tls-verify=false", source)

        def theirs() -> None:
            target = f"docker://{address}/accelerapp:skopeo"
            subprocess.run((*copy, target), check=True, capture_output=True)

        pairs = measure(lambda: builder.invoke(*push) and None, theirs, runs)
    print()
    print_table(HEAD, [pairs.line("push of what is there / skopeo copy --all")])


def _seconds(values: Sequence[float]) -> tuple[str, str]:
    return f"{statistics.median(values):.2f} s", f"{max(values):.2f} s"


def sent_bytes(report: Any) -> int:
    """Return the bytes of blobs that a push sent."""
    return int(sum(image["bytes_sent"] for image in report["images"]))


BENCHMARKS: Mapping[str, Callable[[Builder, int], None]] = {
    "build": bench_build,
    "push": bench_push,
    "floor": bench_floor,
    "start": bench_start,
    "buildkit": bench_buildkit,
}
# Of what is not built, so that it needs no builder.
OTHERS: Mapping[str, Callable[[int], None]] = {
    "monitor": bench_monitor,
    "service": bench_service,
}


def main() -> None:
    """Run the benchmarks that the arguments name."""
    if sys.argv[1:2] == ["compare"]:
        sys.exit(compare.main(sys.argv[2:]))
    known = (*BENCHMARKS, *OTHERS)
    parser = argparse.ArgumentParser(
        prog="nox -s bench --",
        epilog="compare --base REF: this commit beside the one it is based on; see compare --help",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (default: 5)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        sys.exit(f"error: benchmark '{unknown[0]}' is not known; choose {', '.join(known)}")
    with contextlib.ExitStack() as stack:
        builder: Builder | None = None
        for name in arguments.names or known:
            if name in OTHERS:
                print(f"\n== {name}: {OTHERS[name].__doc__}", flush=True)
                OTHERS[name](arguments.runs)
                continue
            builder = builder or stack.enter_context(Builder.temporary())
            print(f"\n== {name}: {BENCHMARKS[name].__doc__}", flush=True)
            BENCHMARKS[name](builder, arguments.runs)


if __name__ == "__main__":
    main()
