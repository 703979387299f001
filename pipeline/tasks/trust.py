"""What an image consists of, and whether that can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invoke.context import Context

from pipeline.tasks.command import task


@task(
    iterable=("target", "platform", "format"),
    help={
        "target": "which image: base, production, monitoring … (default: production); "
        "repeatable, commas; all that is built",
        "platform": "which platforms of it (default: all that are built)",
        "format": "cyclonedx (1.6), spdx (2.3); repeatable, commas (default: cyclonedx)",
        "images": "folder of OCI layouts, or one layout (default: dist/images)",
        "output": "folder for the documents (default: beside the layouts)",
        "check": "have Trivy and Syft list the image, too: refuse unless they find the same",
        "json": "print the result as JSON",
    },
)
def sbom(
    c: Context,
    target: Any = None,
    platform: Any = None,
    format: Any = None,
    images: str | None = None,
    output: str | None = None,
    check: bool = False,
    json: bool = False,
) -> None:
    """List what built images consist of: packages, versions, licences, digests, layers.

    Writes DIST/TARGET-PLATFORM.cdx.json (or .spdx.json) for each, from the image and the lock,
    which have to agree; the same image gives the same bytes.
    """
    from pipeline import report
    from pipeline.sbom.make import SbomRequest, make_sboms

    request = SbomRequest(
        targets=target or (),
        platforms=platform or (),
        formats=format or (),
        images=Path(images) if images else None,
        output=Path(output) if output else None,
        check=check,
    )
    with report.progress() as progress:
        made = make_sboms(request, progress)
    if json:
        report.print_json([part.to_json() for part in made])
        return
    report.print_table(
        ("target", "platform", "debian", "python", "from the lock", "checked by", "file"),
        [
            (
                part.target,
                str(part.platform),
                str(part.packages["deb"]),
                str(part.packages["pypi"]),
                "yes" if part.locked else "no",
                ", ".join(part.checked) or "-",
                str(part.path),
            )
            for part in made
        ],
    )


@task(
    iterable=("target", "platform", "only", "severity"),
    help={
        "target": "which images (default: all that are built); repeatable, commas",
        "platform": "which platforms of them (default: all that are built)",
        "only": "images, repository, configuration, compose; repeatable, commas (default: all "
        "of them; with --target, --platform or --images, images)",
        "severity": "what fails: everything at or above the lowest that is named, of CRITICAL, "
        "HIGH, MEDIUM, LOW, UNKNOWN (default: CRITICAL,HIGH)",
        "format": "table, json or sarif (2.1.0, for GitHub's Security tab) (default: table)",
        "output": "file for the report (default: standard output)",
        "ignore-unfixed": "leave out vulnerabilities that no version mends yet",
        "images": "folder of OCI layouts, or one layout (default: dist/images)",
        "db": "folder with Trivy's database, for machines without a network (default: Trivy's "
        "own, which is fetched when it is missing or too old)",
        "max-db-age": "how old the database may be: 7d, 36h (default: 7d)",
        "policy": "file with exceptions and licences (default: deployment/trust.toml)",
    },
)
def scan(
    c: Context,
    target: Any = None,
    platform: Any = None,
    only: Any = None,
    severity: Any = None,
    format: str = "table",
    output: str | None = None,
    ignore_unfixed: bool = False,
    images: str | None = None,
    db: str | None = None,
    max_db_age: str = "7d",
    policy: str | None = None,
) -> None:
    """Scan images, repository, Dockerfiles, manifests and Compose files; fail on what is found.

    Vulnerabilities, secrets, misconfigurations and licences, by Trivy and by rules of our own.
    Exit code 91: found something; 92: could not scan; 93: an exception has expired or covers
    nothing.
    """
    from datetime import UTC, datetime

    from pipeline import report
    from pipeline.scan.run import ScanRequest
    from pipeline.scan.run import scan as run_scan
    from pipeline.tasks import show_scan

    request = ScanRequest(
        targets=target or (),
        platforms=platform or (),
        only=only or (),
        severity=severity or (),
        format=show_scan.known_format(format),
        ignore_unfixed=ignore_unfixed,
        images=Path(images) if images else None,
        db=Path(db) if db else None,
        max_db_age=max_db_age,
        policy=Path(policy) if policy else None,
    )
    with report.progress() as progress:
        done = run_scan(request, progress, now=datetime.now(UTC))
    show_scan.report(done, format=request.format, output=Path(output) if output else None)
    done.raise_for_gate()


@task(
    iterable=("require",),
    help={
        "where": "a layout's folder (dist/images/production), or a reference: "
        "ghcr.io/owner/name:v1.2.3; several with commas",
        "digest": "what the image has to be: sha256:…",
        "key": "the public key of whoever has to have signed it: a file, or env://NAME and what "
        "else cosign takes; the signature is required then",
        "identity": "who has to have signed it without a key, such as a workflow's address "
        "https://github.com/owner/name/.github/workflows/release.yml@refs/tags/v1.2.3",
        "issuer": "who vouches for --identity: https://token.actions.githubusercontent.com",
        "require": "refuse unless these are verified, too: provenance, lock, sbom, signature, "
        "tag; repeatable, commas (default: refuse what is wrong, and say what is not there)",
        "wait": "for how many seconds to ask a registry for a reference that it does not have "
        "yet, every 15 s (default: ask once)",
        "plain-http": "speak http with a registry that is not on this machine",
        "json": "print the result as JSON",
    },
)
def verify(
    c: Context,
    where: str,
    digest: str | None = None,
    key: str | None = None,
    identity: str | None = None,
    issuer: str | None = None,
    require: Any = None,
    wait: str = "",
    plain_http: bool = False,
    json: bool = False,
) -> None:
    """Verify digests, signature, provenance, lock and SBOMs of an image; say what could not be.

    Exit code 94: something is not what it should be; 95: what --require names is not there.
    """
    from dataclasses import replace

    from pipeline import report
    from pipeline.errors import OptionInvalid
    from pipeline.flags import known_values, places_of, seconds
    from pipeline.oci.registry.reference import check_digest
    from pipeline.verify.checks import REQUIRABLE
    from pipeline.verify.run import VerifyRequest
    from pipeline.verify.run import verify as run_verify

    required = known_values("require", require or (), REQUIRABLE)
    request = VerifyRequest(
        where=where,
        digest=check_digest(digest) if digest else None,
        key=key,
        identity=identity,
        issuer=issuer,
        plain_http=plain_http,
        wait_s=seconds("--wait", wait) if wait else 0.0,
    )
    requests = [replace(request, where=place) for place in places_of(where)]
    if digest and len(requests) > 1:
        raise OptionInvalid("--digest is one image's, and several are named", hint="leave it out")
    with report.progress() as progress:
        reports = [run_verify(one, progress) for one in requests]
    if json:
        documents = [done.to_json() for done in reports]
        report.print_json(documents if len(documents) > 1 else documents[0])
    else:
        for done in reports:
            print(f"{done.where}  {done.digest}")
            report.print_table(
                ("what", "", "why"),
                [(check.name, check.outcome.value, check.detail) for check in done.checks],
            )
    for done in reports:
        done.raise_for([*required, *(["signature"] if key or identity else [])])


@task(
    help={
        "where": "a reference: ghcr.io/owner/name:v1.2.3, or …@sha256:…; several with commas",
        "key": "the private key: a file of 'cosign generate-key-pair', or env://NAME and what "
        "else cosign takes; its password is COSIGN_PASSWORD",
        "keyless": "sign as whoever this is to an OpenID Connect provider: a GitHub workflow with "
        "id-token: write, or a person with a browser",
        "plain-http": "speak http with a registry that is not on this machine",
        "dry-run": "print what would be signed, and sign nothing",
        "json": "print the result as JSON",
    },
)
def sign(
    c: Context,
    where: str,
    key: str | None = None,
    keyless: bool = False,
    plain_http: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Sign an image in a registry, its platforms, SBOMs and provenance, with cosign.

    With a key nothing but the registry is spoken to; keyless the signature is in Sigstore's
    transparency log. Exit code 96: cosign did not sign.
    """
    from pipeline import report
    from pipeline.flags import places_of
    from pipeline.sign import SignRequest
    from pipeline.sign import sign as run_sign

    requests = [SignRequest(place, key, keyless, plain_http, dry_run) for place in places_of(where)]
    with report.progress() as progress:
        reports = [run_sign(request, progress) for request in requests]
    if json:
        documents = [done.to_json() for done in reports]
        report.print_json(documents if len(documents) > 1 else documents[0])
        return
    for done in reports:
        print(f"{done.reference}  {'would be signed' if dry_run else 'signed'} by {done.signer}")
        report.print_table(("what", "digest"), [(one.name, one.digest) for one in done.signed])


@task(
    iterable=("only", "severity"),
    help={
        "only": "source, shell, dockerfiles, workflows, licences, repository; repeatable, commas "
        "(default: all)",
        "severity": "severities that fail: CRITICAL, HIGH, MEDIUM, LOW; repeatable, commas "
        "(default: MEDIUM and above)",
        "format": "table or json (default: table)",
        "output": "file to write the report to (default: standard output)",
        "db": "folder with Trivy's database, for machines without a network",
        "max-db-age": "how old the database may be: 7d, 36h (default: 7d)",
        "policy": "file with exceptions and licences (default: deployment/trust.toml)",
    },
)
def audit(
    c: Context,
    only: Any = None,
    severity: Any = None,
    format: str = "table",
    output: str | None = None,
    db: str | None = None,
    max_db_age: str = "7d",
    policy: str | None = None,
) -> None:
    """Audit the source: Python, shell, Dockerfiles, workflows, licences, requirements, secrets.

    Exit code 91: found something; 92: could not check; 93: an exception has expired or covers
    nothing.
    """
    from datetime import UTC, datetime

    from pipeline import report
    from pipeline.audit import AuditRequest
    from pipeline.audit import audit as run_audit
    from pipeline.tasks import show_scan

    request = AuditRequest(
        only=only or (),
        severity=severity or (),
        db=Path(db) if db else None,
        max_db_age=max_db_age,
        policy=Path(policy) if policy else None,
    )
    format = show_scan.known_format(format, ("table", "json"))
    with report.progress() as progress:
        done = run_audit(request, progress, now=datetime.now(UTC))
    show_scan.report(done, format=format, output=Path(output) if output else None)
    done.raise_for_gate()


@task(
    help={
        "where": "a layout's folder (dist/images/production), or a reference: "
        "ghcr.io/owner/name:v1.2.3",
        "check": "fail unless both are equal (default: say whether they are)",
        "output": "folder to keep the rebuilt layout in (default: throw it away)",
        "plain-http": "speak http with a registry that is not on this machine",
        "json": "print the result as JSON",
    },
)
def rebuild(
    c: Context,
    where: str,
    check: bool = False,
    output: str | None = None,
    plain_http: bool = False,
    json: bool = False,
) -> None:
    """Build an image again from the inputs that its provenance records, and compare digests.

    Exit code 95: nothing is recorded to build from, or it is not here; 97: they differ.
    """
    from pipeline import report
    from pipeline.rebuild import RebuildRequest
    from pipeline.rebuild import rebuild as run_rebuild

    request = RebuildRequest(where, Path(output) if output else None, plain_http)
    with report.progress() as progress:
        done = run_rebuild(request, progress)
    if json:
        report.print_json(done.to_json())
    else:
        print(f"{done.where}  {done.recorded.digest}")
        print(f"rebuilt from {done.recorded.commit[:12]}  {done.digest}")
        print("the same to the byte" if done.is_same else "not the same")
    if check:
        done.raise_for_difference()
