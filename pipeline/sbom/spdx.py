"""An inventory as SPDX 2.3 JSON (ISO/IEC 5962's successor), the same bytes every time."""

from __future__ import annotations

import json
import re
from typing import Any

from pipeline.sbom import licences
from pipeline.sbom.inventory import Component, Inventory

_NOTHING = "NOASSERTION"
_SUBJECT = "SPDXRef-Image"
_SOURCE = "org.opencontainers.image.source"
_NO_SOURCE = "https://spdx.example"
_EPOCH = "1970-01-01T00:00:00Z"


def spdx(inventory: Inventory) -> bytes:
    """Return the document; its namespace follows from the manifest's digest."""
    place = inventory.labels.get(_SOURCE, _NO_SOURCE).rstrip("/")
    names = {component.identity: _identifier(component) for component in inventory.components}
    by_name = {(c.ecosystem, c.name): names[c.identity] for c in inventory.components}
    relationships = [_relationship("SPDXRef-DOCUMENT", "DESCRIBES", _SUBJECT)]
    for component in inventory.components:
        own = names[component.identity]
        relationships.append(_relationship(_SUBJECT, "CONTAINS", own))
        relationships += [
            _relationship(own, "DEPENDS_ON", by_name[component.ecosystem, needed])
            for needed in component.requires
        ]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{inventory.name}-{inventory.target}-{inventory.platform.architecture}",
        "documentNamespace": f"{place}/spdx/{inventory.digest.replace(':', '-')}",
        "creationInfo": {
            "created": inventory.created or _EPOCH,
            "creators": [f"Tool: accelerapp-pipeline-{inventory.builder[:12]}"],
        },
        "packages": [
            _subject(inventory),
            *(_package(inventory, c, names[c.identity]) for c in inventory.components),
        ],
        "relationships": relationships,
    }
    if extracted := _extracted(inventory):
        document["hasExtractedLicensingInfos"] = extracted
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _subject(inventory: Inventory) -> dict[str, Any]:
    return {
        "SPDXID": _SUBJECT,
        "name": f"{inventory.name}:{inventory.target}",
        "versionInfo": inventory.digest,
        "downloadLocation": _NOTHING,
        "filesAnalyzed": False,
        "licenseConcluded": _NOTHING,
        "licenseDeclared": _NOTHING,
        "copyrightText": _NOTHING,
        "primaryPackagePurpose": "CONTAINER",
        "comment": f"platform {inventory.platform}",
    }


def _package(inventory: Inventory, component: Component, identifier: str) -> dict[str, Any]:
    package: dict[str, Any] = {
        "SPDXID": identifier,
        "name": component.name,
        "versionInfo": component.version,
        "downloadLocation": _NOTHING,
        "filesAnalyzed": False,
        "licenseConcluded": _NOTHING,
        "licenseDeclared": licences.joined(component.licences) or _NOTHING,
        "copyrightText": _NOTHING,
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": inventory.purl(component),
            }
        ],
        "comment": f"layer {component.layer}",
    }
    if component.file:
        package["packageFileName"] = component.file
    if component.sha256:
        package["checksums"] = [{"algorithm": "SHA256", "checksumValue": component.sha256}]
    if component.supplier:
        package["supplier"] = f"Organization: {component.supplier}"
    if component.homepage:
        package["homepage"] = component.homepage
    return package


def _identifier(component: Component) -> str:
    text = f"{component.ecosystem.value}-{component.name}-{component.architecture}".rstrip("-")
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.]", "-", text.replace("+", ".plus"))


def _relationship(subject: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": subject, "relationshipType": kind, "relatedSpdxElement": other}


def _extracted(inventory: Inventory) -> list[dict[str, str]]:
    """Return where the texts are of licences that SPDX does not list."""
    holders: dict[str, str] = {}
    for component in inventory.components:
        for name in re.findall(r"LicenseRef-[A-Za-z0-9.-]+", " ".join(component.licences)):
            holders.setdefault(name, component.name)
    return [
        {
            "licenseId": name,
            "name": name.removeprefix("LicenseRef-"),
            "extractedText": f"See /usr/share/doc/{holder}/copyright in the image.",
        }
        for name, holder in sorted(holders.items())
    ]
