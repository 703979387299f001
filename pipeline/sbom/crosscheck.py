"""What scanners find in an image, beside what its inventory says: two readers, one list."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.errors import PackagesDiffer, ToolMissing
from pipeline.process import Runner, run
from pipeline.sbom.inventory import Ecosystem, Inventory, difference
from pipeline.tools import locate

Identity = tuple[str, str, str]


def trivy_list(view: Path) -> tuple[str, ...]:
    """Return the command that lists what Trivy finds in a layout of one platform.

    A CycloneDX list needs no database of vulnerabilities.
    """
    return ("trivy", "image", "--quiet", "--format", "cyclonedx", "--input", str(view))


def syft_list(view: Path) -> tuple[str, ...]:
    """Return the command that lists what Syft finds in a layout of one platform."""
    return ("syft", "scan", "--quiet", "--output", "json", f"oci-dir:{view}")


def read_trivy(text: str) -> frozenset[Identity]:
    """Return the Debian and Python packages of a CycloneDX document of Trivy's."""
    from packageurl import PackageURL

    found: set[Identity] = set()
    for component in json.loads(text).get("components", []):
        if purl := component.get("purl"):
            url = PackageURL.from_string(purl)
            epoch = (url.qualifiers if isinstance(url.qualifiers, dict) else {}).get("epoch")
            version = f"{epoch}:{url.version}" if epoch else str(url.version or "")
            found.add((url.type, url.name, version))
    return _listed(found)


def read_syft(text: str) -> frozenset[Identity]:
    """Return the Debian and Python packages of a document of Syft's own format."""
    kinds = {"deb": Ecosystem.DEBIAN.value, "python": Ecosystem.PYTHON.value}
    return _listed(
        {
            (kinds[artifact["type"]], artifact["name"], artifact["version"])
            for artifact in json.loads(text)["artifacts"]
            if artifact["type"] in kinds
        }
    )


def _listed(found: set[Identity]) -> frozenset[Identity]:
    from packaging.utils import canonicalize_name

    known = {ecosystem.value for ecosystem in Ecosystem}
    return frozenset(
        (kind, canonicalize_name(name) if kind == Ecosystem.PYTHON.value else name, version)
        for kind, name, version in found
        if kind in known
    )


_READERS: Mapping[
    str, tuple[Callable[[Path], tuple[str, ...]], Callable[[str], frozenset[Identity]]]
] = {"trivy": (trivy_list, read_trivy), "syft": (syft_list, read_syft)}
SCANNERS = tuple(_READERS)


def check(inventory: Inventory, view: Path, scanner: str, runner: Runner = run) -> int:
    """Return how many packages a scanner finds in the layout of one platform at `view`.

    Raises `PackagesDiffer` unless they are the inventory's, and `ToolMissing` when the scanner
    is not there or does not work.
    """
    command, read = _READERS[scanner]
    name, *arguments = command(view)
    done = runner((locate(name), *arguments))
    if not done.ok:
        raise ToolMissing(
            f"{scanner} could not list {view}: {done.reason}",
            hint="see 'invoke doctor' for its version",
        )
    try:
        found = read(done.stdout)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolMissing(
            f"the answer of {scanner} cannot be read: {' '.join(str(error).split())}",
            hint="see 'invoke doctor' for its version",
        ) from None
    ours = inventory.identities
    if found != ours:
        raise PackagesDiffer(
            f"'{inventory.target}' for {inventory.platform}: {scanner} does not find what the "
            "image names: " + difference(ours - found, found - ours, "the SBOM", scanner),
            hint="do not ship it before you know why",
        )
    return len(found)
