"""Releases: the version, the commit and its tag, and all that a tag publishes."""

from __future__ import annotations

from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context

from pipeline.tasks.command import task


@task(
    help={
        "part": "what is raised: major, minor or patch; a pre-release of it becomes final",
        "version": "the version itself, such as 1.2.3 or 1.3.0-rc.1, instead of --part",
        "pre": "a pre-release: alpha, beta or rc; with --part the first one, without it the next",
        "dry-run": "check what is quick, print every change and command, and change nothing",
        "json": "print the result as JSON",
    },
)
def prepare(
    c: Context,
    part: str = "",
    version: str = "",
    pre: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Release: check everything, then write the version, commit and tag; nothing is pushed.

    Checked are the work tree, the changelog, the tag, lock and rendered files, the tests, that
    the image builds reproducibly, and the scan. A release that fails or is interrupted leaves
    everything as it was. Exit code 122: refused, with every reason.
    """
    from pipeline import report
    from pipeline.release import prepare as steps
    from pipeline.release.checks import is_refused, raise_for
    from pipeline.tasks import show_release

    request = steps.ReleaseRequest(part=part, version=version, pre=pre, dry_run=dry_run)
    with report.progress() as progress:
        found = steps.examine(request, progress)
    if not json:
        show_release.examined(found)
    push = steps.push_command(found)
    if dry_run or is_refused(found.checked):
        files = steps.foreseen(found) if dry_run else ()
        if json:
            show_release.as_json(found, files, push, None)
        elif dry_run:
            show_release.planned(found, files, push)
        raise_for(found.checked)
        return
    files = steps.changes(found)
    commit = steps.carry_out(found, files)
    if json:
        show_release.as_json(found, files, push, commit)
    else:
        show_release.released(found, files, commit, push)


@task(
    help={
        "tag": "the tag, such as v1.2.3 (default: what GITHUB_REF names)",
        "github": "also append version, prerelease and latest to the file that GITHUB_OUTPUT names",
        "json": "print the result as JSON",
    },
)
def check(c: Context, tag: str = "", github: bool = False, json: bool = False) -> None:
    """Check that a tag is the version in the files, in chart, manifest and changelog.

    Exit code 122: it is not; every reason is printed.
    """
    import os

    from pipeline import report
    from pipeline.github import write_outputs
    from pipeline.release.checks import raise_for
    from pipeline.release.tagged import check_tag
    from pipeline.tasks import show_release

    with report.progress() as progress:
        found = check_tag(tag, progress)
    if json:
        report.print_json(found.to_json())
    else:
        show_release.table(found.checked)
    raise_for(found.checked)
    if github:
        write_outputs(found.outputs(), os.environ)


@task(
    help={
        "version": "of which version (default: the one in the files)",
        "images": "folder of OCI layouts, whose digests are named: all of them have to be there "
        "(default: dist/images, and what is there)",
        "output": "file for the notes (default: standard output)",
    },
)
def notes(c: Context, version: str = "", images: str = "", output: str = "") -> None:
    """Print what a release changes, from the changelog, and its images, as Markdown.

    Exit code 60: an image is damaged; 66: one is not in the folder that --images names.
    """
    from pipeline.atomic import write_atomically
    from pipeline.release.notes import make_notes

    text = make_notes(version, images=Path(images) if images else None)
    if output:
        write_atomically(Path(output), text.encode())
    else:
        print(text, end="")


@task(
    help={
        "output": "folder for wheel and sdist (default: dist/python)",
        "json": "print the result as JSON",
    },
)
def package(c: Context, output: str = "dist/python", json: bool = False) -> None:
    """Build wheel and sdist, once, and check what is in them: the same commit, the same bytes.

    The digests are in a file beside the folder: dist/python.SHA256SUMS. Exit code 51: one of
    them is not what it has to be.
    """
    from pipeline import report
    from pipeline.release.package import package as build

    with report.progress() as progress:
        made = build(progress, output=Path(output))
    if json:
        report.print_json(made.to_json())
        return
    rows = [(str(made.output / name), f"sha256:{sha256}") for name, sha256 in made.files.items()]
    report.print_table(("file", "digest"), rows)


@task(
    help={
        "dist": "folder with wheel and sdist (default: dist/python)",
        "json": "print the result as JSON",
    },
)
def test_package(c: Context, dist: str = "dist/python", json: bool = False) -> None:  # noqa: PT028
    """Install the wheel, and then the sdist, each into a fresh environment, and use it.

    Nothing of this work tree is used but the locks. Exit code 122: one of them does not work.
    """
    from pipeline import report
    from pipeline.release.try_package import try_packages

    with report.progress() as progress:
        tried = try_packages(progress, dist=Path(dist))
    if json:
        report.print_json([one.to_json() for one in tried])
        return
    rows = [(one.file, one.kind, f"{len(one.outputs)} outputs, the same") for one in tried]
    report.print_table(("file", "", "what it made"), rows)


@task(
    help={
        "wait": "for how many seconds to ask for images that are not there yet, for all of them "
        "together (default: ask once)",
        "key": "the public key of whoever has to have signed them",
        "identity": "who has to have signed them without a key, such as a workflow's address",
        "issuer": "who vouches for --identity",
        "output": "folder for layouts, SBOMs and provenance (default: dist/images)",
        "plain-http": "speak http with a registry that is not on this machine",
        "json": "print the result as JSON",
    },
)
def images(
    c: Context,
    wait: str = "",
    key: str = "",
    identity: str = "",
    issuer: str = "",
    output: str = "dist/images",
    plain_http: bool = False,
    json: bool = False,
) -> None:
    """Verify the release's images in their registry, and bring them with all that is said of them.

    The registry is ACCELERAPP_REGISTRY, in GitHub Actions the owner's place at ghcr.io. Exit code
    78: one is not there; 94: one is not what it should be; 95: something about one is missing.
    """
    from pipeline import report
    from pipeline.flags import seconds
    from pipeline.release.images import ImagesRequest, bring_images

    request = ImagesRequest(
        output=Path(output),
        wait_s=seconds("--wait", wait) if wait else 0.0,
        key=key or None,
        identity=identity or None,
        issuer=issuer or None,
        plain_http=plain_http,
    )
    with report.progress() as progress:
        brought = bring_images(request, progress)
    if json:
        report.print_json([one.to_json() for one in brought])
        return
    rows = [(one.where, one.digest, "verified") for one in brought]
    report.print_table(("image", "digest", ""), rows)


@task(
    help={
        "output": "folder for the files, replaced as a whole (default: dist/release)",
        "dist": "folder with wheel and sdist (default: dist/python)",
        "images": "folder with the SBOMs and provenance of the images (default: dist/images)",
        "json": "print the result as JSON",
    },
)
def assets(
    c: Context,
    output: str = "dist/release",
    dist: str = "dist/python",
    images: str = "",
    json: bool = False,
) -> None:
    """Put together what a release carries: packages, chart, manifest, SBOMs, provenance, digests.

    Exit code 122: something is missing, or is of something else; all of it is listed.
    """
    from pipeline import report
    from pipeline.release.assets import collect

    found = collect(output=Path(output), dist=Path(dist), images=Path(images) if images else None)
    if json:
        report.print_json(found.to_json())
    else:
        for line in found.missing:
            print(line)
        rows = [(one.name, report.megabytes(one.size_bytes), one.sha256) for one in found.files]
        report.print_table(("file", "size", "sha256"), rows)
    found.raise_for_missing()


@task(
    help={
        "assets": "folder that release.assets made (default: dist/release)",
        "notes": "file with the release's notes (default: what release.notes says)",
        "draft": "make a draft, which nobody sees yet",
        "dry-run": "print the command, and ask and change nothing",
        "json": "print the result as JSON",
    },
)
def publish(
    c: Context,
    assets: str = "dist/release",
    notes: str = "",
    draft: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Make the release at GitHub, with gh; one that is there with the same assets stays.

    A draft with the same assets is made public, except with --draft. gh takes its token from
    GH_TOKEN. Exit code 122: there is a release with other assets.
    """
    from pipeline import report
    from pipeline.release.publish import PublishRequest
    from pipeline.release.publish import publish as run_publish
    from pipeline.tasks import show_release

    request = PublishRequest(
        assets=Path(assets),
        notes=Path(notes) if notes else None,
        draft=draft,
        dry_run=dry_run,
    )
    done = run_publish(request)
    if json:
        report.print_json(done.to_json())
    else:
        show_release.published(done, dry_run=dry_run)


collection = Collection("release")
collection.add_task(prepare, default=True)
for _task in (check, notes, package, test_package, images, assets, publish):
    collection.add_task(_task)
