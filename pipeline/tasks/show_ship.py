"""What went to a registry or came from one, as tables for people or JSON for programs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.atomic import write_atomically
from pipeline.github import write_outputs, write_summary
from pipeline.push import Fate
from pipeline.report import megabytes, print_json, print_table

if TYPE_CHECKING:
    from pipeline.helm.push import ChartReport
    from pipeline.pull import PullReport
    from pipeline.push import PushReport, TagMove


def push(reports: Sequence[PushReport], *, dry_run: bool, as_json: bool) -> None:
    """Print what was pushed, or what would be."""
    if as_json:
        _json(reports, dry_run=dry_run)
        return
    if dry_run:
        _blobs(reports)
    rows = []
    for report in reports:
        for part in report.parts:
            counts = [
                str(sum(blob.fate in fates for blob in part.blobs))
                for fates in (
                    (Fate.SENT, Fate.WOULD_SEND),
                    (Fate.EXISTS,),
                    (Fate.MOUNTED, Fate.WOULD_MOUNT),
                )
            ]
            rows.append(
                [
                    report.target,
                    str(part.platform),
                    megabytes(part.size_bytes),
                    *counts,
                    part.digest,
                ]
            )
    sent = "would send" if dry_run else "sent"
    print_table(["target", "platform", "size", sent, "there", "mounted", "digest"], rows)
    print()
    _references(reports, dry_run=dry_run)
    _attached(reports)
    if dry_run:
        total = sum(
            blob.size_bytes
            for report in reports
            for blob in report.blobs
            if blob.fate is Fate.WOULD_SEND
        )
        print(f"nothing was sent; {megabytes(total)} would be")
    else:
        total = sum(blob.sent_bytes for report in reports for blob in report.blobs)
        seconds = sum(report.seconds for report in reports)
        print(f"{megabytes(total)} sent, done in {seconds:.1f} s")


def chart(report: ChartReport, *, dry_run: bool, as_json: bool) -> None:
    """Print what was pushed of the chart, or what would be, and how to install it."""
    if as_json:
        print_json({"dry_run": dry_run, "chart": report.to_json()})
        return
    rows = [
        [part, blob.digest, megabytes(blob.size_bytes), blob.fate.value]
        for part, blob in zip(("archive", "metadata"), report.blobs, strict=True)
    ]
    rows.append(["manifest", report.digest, "", report.fate.value])
    print_table([f"chart {report.name} {report.version}", "digest", "size", ""], rows)
    print()
    print(report.reference)
    print(f"  {report.repository}:{report.tag.tag}  {_moved(report.tag, dry_run=dry_run)}")
    print(shlex.join(report.install))
    if dry_run:
        print(f"nothing was sent; {megabytes(report.bytes_to_send)} would be")
    else:
        print(f"{megabytes(report.bytes_sent)} sent, done in {report.seconds:.1f} s")


def manifest(reports: Sequence[PushReport], *, dry_run: bool, as_json: bool) -> None:
    """Print what was joined, or what would be."""
    if as_json:
        _json(reports, dry_run=dry_run)
        return
    rows = [
        [report.target, str(part.platform), megabytes(part.size_bytes), part.digest]
        for report in reports
        for part in report.parts
    ]
    print_table(["target", "platform", "size", "digest"], rows)
    print()
    _references(reports, dry_run=dry_run)
    _attached(reports)
    print("nothing was sent" if dry_run else f"done in {sum(r.seconds for r in reports):.1f} s")


def write_github(reports: Sequence[PushReport], environ: Mapping[str, str]) -> None:
    """Append what was joined to the outputs of a step, and a table to the summary of the run."""
    tagged = [f"{report.repository}:{move.tag}" for report in reports for move in report.tags]
    write_outputs(
        {
            "references": ",".join(report.reference for report in reports),
            "tags": "\n".join(tagged),
            "json": json.dumps([report.to_json() for report in reports], separators=(",", ":")),
        },
        environ,
    )
    rows = [
        f"| {report.target} | `{report.reference}` | "
        f"{', '.join(f'`{move.tag}`' for move in report.tags)} |\n"
        for report in reports
    ]
    write_summary(f"| image | by digest | tags |\n|---|---|---|\n{''.join(rows)}\n", environ)


def write_checksums(reports: Sequence[PushReport], path: Path) -> None:
    """Write the digest of each image as `sha256sum` does, under its name without a tag."""
    lines = [
        f"{report.digest.removeprefix('sha256:')}  {report.repository}/{report.target}\n"
        for report in reports
    ]
    write_atomically(path, "".join(lines).encode())


def pull(report: PullReport, *, as_json: bool) -> None:
    """Print what was pulled."""
    if as_json:
        print_json(report.to_json())
        return
    print_table(
        ["platform", "size", "digest"],
        [[str(part.platform), megabytes(part.size_bytes), part.digest] for part in report.parts],
    )
    print()
    print(f"{report.output}  {report.digest}")
    for label in report.left_out:
        print(f"left out: {label}")
    if report.digest != report.registry_digest:
        print(f"the registry's own, with what was left out, is {report.registry_digest}")
    print(
        f"{megabytes(report.received_bytes)} received, {report.kept} of {report.blobs} layers were "
        f"there, done in {report.seconds:.1f} s"
    )


def _json(reports: Sequence[PushReport], *, dry_run: bool) -> None:
    print_json({"dry_run": dry_run, "images": [report.to_json() for report in reports]})


def _blobs(reports: Sequence[PushReport]) -> None:
    rows = []
    for report in reports:
        rows += [
            [report.target, blob.digest, megabytes(blob.size_bytes), blob.fate.value]
            for blob in report.blobs
        ]
        manifests = {part.digest: part.fate for part in report.parts}
        manifests[report.digest] = report.fate
        rows += [
            [report.target, digest, "manifest", fate.value] for digest, fate in manifests.items()
        ]
    print_table(["target", "blob", "size", ""], rows)
    print()


def _references(reports: Sequence[PushReport], *, dry_run: bool) -> None:
    for report in reports:
        print(report.reference)
        for move in report.tags:
            print(f"  {report.repository}:{move.tag}  {_moved(move, dry_run=dry_run)}")


def _attached(reports: Sequence[PushReport]) -> None:
    for report in reports:
        for one in report.attached:
            print(f"{one.name} of {report.target}  {one.fate.value}  {one.digest}")
        for note in report.notes:
            print(f"note: {note}")


def _moved(move: TagMove, *, dry_run: bool) -> str:
    if not move.moves:
        return "unchanged"
    if dry_run:
        return f"{move.before or 'new'} → {move.after}"
    return f"was {move.before}" if move.before else "new"
