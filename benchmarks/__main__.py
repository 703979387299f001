"""`nox -s bench [-- NAME …]`: build, floor, buildkit, start; all of them by default."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import buildkit, containers, floor
from benchmarks.builder import Builder
from benchmarks.pairs import measure, repeat
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


BENCHMARKS: Mapping[str, Callable[[Builder, int], None]] = {
    "build": bench_build,
    "floor": bench_floor,
    "start": bench_start,
    "buildkit": bench_buildkit,
}


def main() -> None:
    """Run the benchmarks that the arguments name."""
    parser = argparse.ArgumentParser(prog="nox -s bench --")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (default: 5)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"error: benchmark '{unknown[0]}' is not known; choose {', '.join(BENCHMARKS)}")
    with Builder.temporary() as builder:
        for name in arguments.names or BENCHMARKS:
            print(f"\n== {name}: {BENCHMARKS[name].__doc__}", flush=True)
            BENCHMARKS[name](builder, arguments.runs)


if __name__ == "__main__":
    main()
