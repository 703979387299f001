"""Every way in which the pipeline refuses, each with an exit code of its own.

An error is one line for a person: what failed and where (`message`), and what
to do next (`hint`).  Exit codes are a contract; README.md lists them, and a
test holds the two together.
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
    """A platform that no spelling table knows."""

    exit_code = 10


class UnknownTarget(PipelineError):
    """A target that deployment/images.toml does not describe."""

    exit_code = 11


class SettingsInvalid(PipelineError):
    """A key or value in images.toml that cannot be used."""

    exit_code = 12


class SettingsUnreadable(PipelineError):
    """images.toml is missing or is not TOML."""

    exit_code = 13


class BaseUnusable(PipelineError):
    """A base image from a registry that images cannot be built on."""

    exit_code = 14


class OptionInvalid(PipelineError):
    """Flags that do not fit together, or a value that cannot be used."""

    exit_code = 15


class EngineUnsuitable(PipelineError):
    """A target that the chosen engine cannot build."""

    exit_code = 16


class NameInvalid(PipelineError):
    """A repository name, tag or digest that no registry accepts."""

    exit_code = 17


# The lock: 20-29.


class LockMissing(PipelineError):
    """There is no lock."""

    exit_code = 20


class LockStale(PipelineError):
    """The lock was made from another description."""

    exit_code = 21


class LockTampered(PipelineError):
    """The lock is not what `invoke lock` wrote."""

    exit_code = 22


class RenderedStale(PipelineError):
    """A committed file that is not what the description renders."""

    exit_code = 23


# Debian packages and Python dependencies: 30-39.


class PackageNotFound(PipelineError):
    """No archive of the suite has the package, on any platform."""

    exit_code = 30


class PackageNotOnPlatform(PipelineError):
    """The package exists, but not for every platform that was asked for."""

    exit_code = 31


class PackagesConflict(PipelineError):
    """Packages that cannot be installed together, or a dependency nothing satisfies."""

    exit_code = 32


class SignatureInvalid(PipelineError):
    """Archive metadata that the repository's keys did not sign."""

    exit_code = 33


class MaintainerScriptUnaudited(PipelineError):
    """A package whose postinst nobody has looked at."""

    exit_code = 34


class WheelMissing(PipelineError):
    """A dependency that has no wheel for the target."""

    exit_code = 35


class ResolutionFailed(PipelineError):
    """Python requirements that no set of versions satisfies."""

    exit_code = 36


# Network and storage: 40-49.


class DownloadCorrupt(PipelineError):
    """A download whose size or digest is not the locked one."""

    exit_code = 40


class NetworkUnavailable(PipelineError):
    """Something that is needed is neither cached nor reachable."""

    exit_code = 41


class OutputUnwritable(PipelineError):
    """The output or the cache cannot be written."""

    exit_code = 42


class CacheBusy(PipelineError):
    """The cache cannot be pruned while a build uses it."""

    exit_code = 43


# The project that is being packaged: 50-59.


class NotAPythonProject(PipelineError):
    """A source directory without pyproject.toml or setup.py."""

    exit_code = 50


class ProjectBuildFailed(PipelineError):
    """The project's build back end did not produce a wheel."""

    exit_code = 51


class ProjectNotPure(PipelineError):
    """The project's own wheel carries compiled code for the host."""

    exit_code = 52


class EntryPointMissing(PipelineError):
    """Nothing says what the container should run."""

    exit_code = 53


# The finished image and the tools around it: 60-69.


class ImageInvalid(PipelineError):
    """An assembled image that could not run: wrong machine, missing library, too new a GLIBC."""

    exit_code = 60


class ToolMissing(PipelineError):
    """A program or library that this command needs is not installed."""

    exit_code = 61


class CompressorChanged(PipelineError):
    """The pinned compressor no longer produces its golden bytes."""

    exit_code = 62


class ArchiveMalformed(PipelineError):
    """A Debian package or wheel that passed its digest and still cannot be read."""

    exit_code = 63


class EngineUnavailable(PipelineError):
    """No Docker, Podman or containerd answers."""

    exit_code = 64


class EngineFailed(PipelineError):
    """A container engine did not do what it was asked: a failed build, a refused image."""

    exit_code = 65


class ImageMissing(PipelineError):
    """An image layout that is not on disk, or lacks a platform that was asked for."""

    exit_code = 66


# Registries: 70-79.


class CredentialsRejected(PipelineError):
    """A registry that wants credentials, or does not accept those it got (401)."""

    exit_code = 70


class AccessDenied(PipelineError):
    """Credentials that may not do this (403)."""

    exit_code = 71


class CredentialHelperFailed(PipelineError):
    """A credential helper that is missing, fails or hangs, or a file of credentials in disorder."""

    exit_code = 72


class RegistryUnavailable(PipelineError):
    """A registry that is out of reach or keeps failing (408, 429, 5xx, dropped connections)."""

    exit_code = 73


class RegistryRefused(PipelineError):
    """A registry that refuses a request, or answers against the distribution specification."""

    exit_code = 74


class RegistryCorrupt(PipelineError):
    """Bytes that a registry received or sent with another digest than they should have."""

    exit_code = 75


class RedirectUnsafe(PipelineError):
    """A registry that sends requests to an address where they must not go."""

    exit_code = 76


class TooLargeForRegistry(PipelineError):
    """A manifest over 4 MB, or a blob that a registry takes neither whole nor in chunks (413)."""

    exit_code = 77


class NotInRegistry(PipelineError):
    """A repository, tag or digest that a registry does not have (404)."""

    exit_code = 78


# The stack: 80-89.


class ComposeUnreadable(PipelineError):
    """A Compose file, or what documents its variables, that cannot be read."""

    exit_code = 80


class ComposeInvalid(PipelineError):
    """Compose files that are not what they have to be; every finding is printed."""

    exit_code = 81


class PortTaken(PipelineError):
    """A port of this machine that the stack wants and another has."""

    exit_code = 82


class StackUnhealthy(PipelineError):
    """A service of the stack that does not start, or does not get healthy."""

    exit_code = 83


class SmokeFailed(PipelineError):
    """The stack is up and does not do what it is for."""

    exit_code = 84


# Trust: 90-99.


class PackagesDiffer(PipelineError):
    """Lists of an image's packages that should be equal and are not: the lock's, the image's,
    a scanner's."""

    exit_code = 90


class FindingsAboveGate(PipelineError):
    """A scan that found something at or above the gate that no exception covers."""

    exit_code = 91


class NotScanned(PipelineError):
    """A scan that could not be done: no scanner, no database, one that is damaged or too old."""

    exit_code = 92


class ExceptionsInvalid(PipelineError):
    """Exceptions from the gate that cannot be read, have expired, or except nothing."""

    exit_code = 93


class VerificationFailed(PipelineError):
    """An image, or what is said of it, that is not what it should be; every reason is printed."""

    exit_code = 94


class NotVerified(PipelineError):
    """What was to be verified and is not there to be: no provenance, no SBOM, no signature."""

    exit_code = 95


class SigningFailed(PipelineError):
    """A signature that cosign did not make: a wrong key or password, a registry that refuses."""

    exit_code = 96


class RebuildDiffers(PipelineError):
    """An image that is not what its recorded inputs give when it is built again."""

    exit_code = 97


# The chart and the cluster: 100-119.


class ChartInvalid(PipelineError):
    """A chart, or values for it, that helm, its schema or a rule refuses; all is printed."""

    exit_code = 100


class ManifestInvalid(PipelineError):
    """Kubernetes objects that break a schema, the restricted profile or a rule; all is printed."""

    exit_code = 101


class VersionTaken(PipelineError):
    """A chart version that a registry already has with other content."""

    exit_code = 102


class ClusterUnavailable(PipelineError):
    """No Kubernetes API server answers, or one of a version that is not supported."""

    exit_code = 103


class ClusterDenied(PipelineError):
    """What this user may not do in a cluster, or a cluster that does not know this user."""

    exit_code = 104


class NamespaceMissing(PipelineError):
    """A namespace that the cluster does not have."""

    exit_code = 105


class ReleaseMissing(PipelineError):
    """A release, or a revision of one, that the namespace does not have."""

    exit_code = 106


class ReleaseBusy(PipelineError):
    """A release that another command is changing, or that one has left half-way."""

    exit_code = 107


class RolloutFailed(PipelineError):
    """A release whose pods do not get ready; each reason is printed, and what became of it."""

    exit_code = 108


class SwitchRefused(PipelineError):
    """Traffic that must not be moved: to what is not there, not ready, not healthy, or at once."""

    exit_code = 109


class HelmFailed(PipelineError):
    """helm or kubectl said no for a reason of its own."""

    exit_code = 110


# The pipeline itself: 120-125.


class WorkflowsInvalid(PipelineError):
    """Workflows, actions or settings of GitHub's that break a schema or a rule; all is printed."""

    exit_code = 120


class WorkflowFailed(PipelineError):
    """A workflow that ran on this machine and failed, or that could not be run."""

    exit_code = 121


class ReleaseRefused(PipelineError):
    """A release that must not be: of changed files, without a changelog entry, out already."""

    exit_code = 122


class GuidesInvalid(PipelineError):
    """Guides that say what is not so; each finding is printed."""

    exit_code = 123


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'? " for the known name closest to `name`, or ""."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean '{match[0]}'?" if match else ""
