"""Every way in which the pipeline refuses, each with an exit code of its own.

An error is one line for a person: what failed and where (`message`), and what
to do next (`hint`).  Exit codes are a contract.  The docstring of each says what
it means and, in a paragraph of its own, what to do: `invoke docs` makes of that the
table in DEPLOYMENT.md.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class PipelineError(Exception):
    """Base of every expected failure."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


# What the user asked for: 10-19.


class UnsupportedPlatform(PipelineError):
    """A platform that no spelling table knows.

    Choose amd64, arm64 or all.
    """

    exit_code = 10


class UnknownTarget(PipelineError):
    """A target that deployment/images.toml does not describe.

    `invoke images` lists those that it does.
    """

    exit_code = 11


class SettingsInvalid(PipelineError):
    """A key or value in images.toml that cannot be used.

    The line names it, and the nearest one that is known.
    """

    exit_code = 12


class SettingsUnreadable(PipelineError):
    """images.toml is missing or is not TOML.

    Be in the root of a checkout, or correct the line that is named.
    """

    exit_code = 13


class BaseUnusable(PipelineError):
    """A base image from a registry that images cannot be built on.

    Take one with glibc and Python 3, or build with `--engine docker`.
    """

    exit_code = 14


class OptionInvalid(PipelineError):
    """Flags that do not fit together, or a flag or variable whose value cannot be used.

    `invoke --help TASK` has the flags, DEPLOYMENT.md the variables.
    """

    exit_code = 15


class EngineUnsuitable(PipelineError):
    """A target that the chosen engine cannot build.

    Leave `--engine` out: `auto` takes the one that can.
    """

    exit_code = 16


class NameInvalid(PipelineError):
    """A repository name, tag or digest that no registry accepts.

    Names are lower case; a tag is letters, digits, `_`, `.` and `-`, 128 at most.
    """

    exit_code = 17


# The lock: 20-29.


class LockMissing(PipelineError):
    """There is no lock.

    `invoke lock` makes it; commit it.
    """

    exit_code = 20


class LockStale(PipelineError):
    """The lock was made from another description.

    `invoke lock`, then `invoke dockerfile`; commit what they write.
    """

    exit_code = 21


class LockTampered(PipelineError):
    """The lock is not what `invoke lock` wrote: a merge, or a hand.

    Take back `deployment/images.lock`, and run `invoke lock`.
    """

    exit_code = 22


class RenderedStale(PipelineError):
    """A committed file that is not what its source renders.

    The line names the command that renders it; commit the result.
    """

    exit_code = 23


# Debian packages and Python dependencies: 30-39.


class PackageNotFound(PipelineError):
    """A Debian package that no archive of the suite has, on any platform.

    Correct its name in images.toml; the line has the nearest one.
    """

    exit_code = 30


class PackageNotOnPlatform(PipelineError):
    """A Debian package that exists, but not for every platform that was asked for.

    Leave the platform out, or the package.
    """

    exit_code = 31


class PackagesConflict(PipelineError):
    """Debian packages that cannot be installed together, or a dependency nothing satisfies.

    The line names both; leave one of them out.
    """

    exit_code = 32


class SignatureInvalid(PipelineError):
    """Archive metadata that the repository's keys did not sign.

    Ask another mirror; if all say so, read `deployment/keyrings/README.md`.
    """

    exit_code = 33


class MaintainerScriptUnaudited(PipelineError):
    """A package whose `postinst` nobody has looked at.

    Read it, and add the package to `pipeline/sources/debian/postinst.py`.
    """

    exit_code = 34


class WheelMissing(PipelineError):
    """A dependency that has no wheel for the target.

    Choose a version that has one, or build with `--engine docker`.
    """

    exit_code = 35


class ResolutionFailed(PipelineError):
    """Python requirements that no set of versions satisfies.

    uv's reason is in the line; loosen one of the requirements that it names.
    """

    exit_code = 36


# Network and storage: 40-49.


class DownloadCorrupt(PipelineError):
    """A download whose size or digest is not the locked one.

    Again, with another `--mirror`; if it stays, somebody changed a release: do not build.
    """

    exit_code = 40


class NetworkUnavailable(PipelineError):
    """Something that is needed is neither cached nor reachable.

    Name a mirror that is (`--mirror`, pip's index, a proxy), or build where the cache has it.
    """

    exit_code = 41


class OutputUnwritable(PipelineError):
    """The output or the cache cannot be written.

    Free space there, or choose another folder (`--output`, `ACCELERAPP_BUILD_CACHE`).
    """

    exit_code = 42


class CacheBusy(PipelineError):
    """The cache cannot be pruned while a build uses it.

    Again when the build has ended.
    """

    exit_code = 43


# The project that is being packaged: 50-59.


class NotAPythonProject(PipelineError):
    """A source directory without pyproject.toml or setup.py.

    `--source` is the folder that has it.
    """

    exit_code = 50


class ProjectBuildFailed(PipelineError):
    """The project's build back end did not produce a wheel.

    All that it said is in the log that the line names.
    """

    exit_code = 51


class ProjectNotPure(PipelineError):
    """The project's own wheel carries compiled code for the host.

    Compile for the target with `docker-build-lines` and `--engine docker`.
    """

    exit_code = 52


class EntryPointMissing(PipelineError):
    """Nothing says what the container should run.

    Give `--entrypoint`, or a console script that is called like the project.
    """

    exit_code = 53


# The finished image and the tools around it: 60-69.


class ImageInvalid(PipelineError):
    """An assembled image that could not run: wrong machine, missing library, too new a GLIBC.

    The line names the file; lock the package that has what it needs, or another suite.
    """

    exit_code = 60


class ToolMissing(PipelineError):
    """A program or library that this command needs is not installed.

    `invoke doctor` and `invoke tools` say what is missing and how to get it.
    """

    exit_code = 61


class CompressorChanged(PipelineError):
    """The pinned compressor no longer produces its golden bytes.

    Install the version in `requirements/dev.txt`.
    """

    exit_code = 62


class ArchiveMalformed(PipelineError):
    """A Debian package or wheel that passed its digest and still cannot be read.

    The release is broken: choose another version of it, and lock again.
    """

    exit_code = 63


class EngineUnavailable(PipelineError):
    """No Docker, Podman or containerd answers.

    Start it, or set `DOCKER_HOST`; `invoke doctor` says what answers.
    """

    exit_code = 64


class EngineFailed(PipelineError):
    """A container engine did not do what it was asked: a failed build, a refused image.

    The engine's own reason is in the line, a build's whole log in the cache's `logs`.
    """

    exit_code = 65


class ImageMissing(PipelineError):
    """An image layout that is not on disk, or lacks a platform that was asked for.

    `invoke build` with that target and platform; `invoke images` says what is built.
    """

    exit_code = 66


# Registries: 70-79.


class CredentialsRejected(PipelineError):
    """A registry that wants credentials, or does not accept those it got (401).

    `docker login`, or `REGISTRY_USERNAME` and `REGISTRY_PASSWORD`; the line says which were
    sent.
    """

    exit_code = 70


class AccessDenied(PipelineError):
    """Credentials that may not do this (403).

    For ghcr.io a token with `write:packages`, in a workflow `packages: write`.
    """

    exit_code = 71


class CredentialHelperFailed(PipelineError):
    """A credential helper that is missing, fails or hangs, or a file of credentials in
    disorder.

    Run the helper by hand, or take it out of `config.json`.
    """

    exit_code = 72


class RegistryUnavailable(PipelineError):
    """A registry that is out of reach or keeps failing (408, 429, 5xx, dropped connections).

    Again later: what it has is not sent twice, and every tag is whole.
    """

    exit_code = 73


class RegistryRefused(PipelineError):
    """A registry that refuses a request, or answers against the distribution specification.

    Its reason is in the line; for one that takes images alone, `--no-attach`.
    """

    exit_code = 74


class RegistryCorrupt(PipelineError):
    """Bytes that a registry received or sent with another digest than they should have.

    Push or pull again; if it stays, the registry's storage is damaged.
    """

    exit_code = 75


class RedirectUnsafe(PipelineError):
    """A registry that sends requests to an address where they must not go.

    A proxy or the registry is configured wrongly, or somebody attacks: ask whoever runs it.
    """

    exit_code = 76


class TooLargeForRegistry(PipelineError):
    """A manifest over 4 MB, or a blob that a registry takes neither whole nor in chunks (413).

    Raise the limit of the proxy before the registry.
    """

    exit_code = 77


class NotInRegistry(PipelineError):
    """A repository, tag or digest that a registry does not have (404).

    Look at the spelling: `REGISTRY/NAME:VERSION-TARGET`; private ones answer so to strangers,
    too.
    """

    exit_code = 78


# The stack: 80-89.


class ComposeUnreadable(PipelineError):
    """A Compose file, or `.env.example`, that cannot be read.

    Correct the line that is named.
    """

    exit_code = 80


class ComposeInvalid(PipelineError):
    """Compose files that break the specification or a rule; every finding is printed.

    Correct what is listed; `invoke compose.check` looks again.
    """

    exit_code = 81


class PortTaken(PipelineError):
    """A port of this machine that the stack wants and another has.

    `invoke compose.up --port PORT`, or `ACCELERAPP_HOST_PORT` and `MONITOR_HOST_PORT` in
    `.env`.
    """

    exit_code = 82


class StackUnhealthy(PipelineError):
    """A service of the stack that does not start, or does not get healthy.

    Its last lines are printed; `invoke compose.logs` has all of them.
    """

    exit_code = 83


class SmokeFailed(PipelineError):
    """The stack is up and does not do what it is for.

    The step that failed is named, with the last lines of its service.
    """

    exit_code = 84


# Trust: 90-99.


class PackagesDiffer(PipelineError):
    """Lists of an image's packages that should be equal and are not: the lock's, the image's, a
    scanner's.

    Build it again from this lock; with `--check`, look whether the scanner is current.
    """

    exit_code = 90


class FindingsAboveGate(PipelineError):
    """A scan or an audit that found something at or above the gate that no exception covers.

    `invoke lock --upgrade` and build; or an exception with reason and expiry in
    `deployment/trust.toml`.
    """

    exit_code = 91


class NotScanned(PipelineError):
    """A scan or an audit that could not be done: no scanner, no database, one that is damaged
    or too old.

    `invoke tools.install trivy`; without a network `--db FOLDER`; `--max-db-age` says how old
    is too old.
    """

    exit_code = 92


class ExceptionsInvalid(PipelineError):
    """Exceptions from the gate that cannot be read, have expired, or except nothing.

    Correct, renew or remove the entry of `deployment/trust.toml` that is named.
    """

    exit_code = 93


class VerificationFailed(PipelineError):
    """An image, or what is said of it, that is not what it should be; every reason is printed.

    Do not deploy it. Find out who pushed it, and push what was built.
    """

    exit_code = 94


class NotVerified(PipelineError):
    """What was to be verified and is not there to be: no provenance, no SBOM, no signature.

    Push without `--no-attach`, sign, or ask for less with `--require`.
    """

    exit_code = 95


class SigningFailed(PipelineError):
    """A signature that cosign did not make: a wrong key or password, a registry that refuses.

    cosign's reason is in the line; `COSIGN_PASSWORD` is the key's.
    """

    exit_code = 96


class RebuildDiffers(PipelineError):
    """An image that is not what its recorded inputs give when it is built again.

    `--output DIR` keeps the other; `invoke diff` says what differs.
    """

    exit_code = 97


# The chart and the cluster: 100-119.


class ChartInvalid(PipelineError):
    """A chart, or values for it, that helm, its schema or a rule refuses; all is printed.

    Correct what is listed; `invoke helm.lint` looks again.
    """

    exit_code = 100


class ManifestInvalid(PipelineError):
    """Kubernetes objects that break a schema, the restricted profile or a rule; all is printed.

    Correct what is listed; `invoke k8s.check` looks again.
    """

    exit_code = 101


class VersionTaken(PipelineError):
    """A chart version that a registry already has with other content.

    Raise `version` in Chart.yaml: a version is never replaced.
    """

    exit_code = 102


class ClusterUnavailable(PipelineError):
    """No Kubernetes API server answers, or one of a version that is not supported.

    `kubectl version`; then `KUBECONFIG` or `--context`.
    """

    exit_code = 103


class ClusterDenied(PipelineError):
    """What this user may not do in a cluster, or a cluster that does not know this user.

    Ask for a role with what is listed.
    """

    exit_code = 104


class NamespaceMissing(PipelineError):
    """A namespace that the cluster does not have.

    `--create-namespace`, which enforces "restricted" there, too.
    """

    exit_code = 105


class ReleaseMissing(PipelineError):
    """A release, or a revision of one, that the namespace does not have.

    `--namespace` and `--release`; `helm list --all-namespaces` has all.
    """

    exit_code = 106


class ReleaseBusy(PipelineError):
    """A release that another command is changing, or that one has left half-way.

    Wait; if that command was killed, `invoke deploy.rollback`.
    """

    exit_code = 107


class RolloutFailed(PipelineError):
    """A release whose pods do not get ready; each reason is printed, and what became of it.

    "A pod is not ready" in DEPLOYMENT.md has the way from each reason.
    """

    exit_code = 108


class SwitchRefused(PipelineError):
    """Traffic that must not be moved: to what is not there, not ready, not healthy, or at once.

    The traffic is where it was; `invoke deploy.status` shows both colours.
    """

    exit_code = 109


class HelmFailed(PipelineError):
    """helm or kubectl said no for a reason of its own.

    It is quoted: a quota, an admission policy, a kind that the cluster lacks.
    """

    exit_code = 110


# The pipeline itself: 120-125.


class WorkflowsInvalid(PipelineError):
    """Workflows, actions or settings of GitHub's that break a schema or a rule; all is printed.

    Correct what is listed; `invoke ci.check` looks again.
    """

    exit_code = 120


class WorkflowFailed(PipelineError):
    """A workflow that ran on this machine and failed, or that could not be run.

    The step that failed is named; run its command by itself.
    """

    exit_code = 121


class ReleaseRefused(PipelineError):
    """A release that must not be: of changed files, without a changelog entry, out already.

    Do what the line says; nothing has been published.
    """

    exit_code = 122


class GuidesInvalid(PipelineError):
    """Guides that say what is not so; each finding is printed.

    Correct what is listed; `invoke docs --check` looks again.
    """

    exit_code = 123


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'? " for the known name closest to `name`, or ""."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean '{match[0]}'?" if match else ""
