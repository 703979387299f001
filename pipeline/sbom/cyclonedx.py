"""An inventory as CycloneDX 1.6 JSON (ECMA-424), the same bytes every time."""

from __future__ import annotations

import json
import uuid
from typing import Any

from pipeline.sbom import licences
from pipeline.sbom.inventory import Component, Ecosystem, Inventory

_NAMESPACE = uuid.UUID("5b8a4f0e-52a7-5c5e-9b0d-9d8b5a2f7c11")
_PREFIX = "accelerapp:"
# Trivy finds a Debian package's vulnerabilities by its source package, and looks for that here.
_TRIVY = "aquasecurity:trivy:"


def cyclonedx(inventory: Inventory) -> bytes:
    """Return the document; its serial number follows from the manifest's digest."""
    subject = _subject(inventory)
    system = _operating_system(inventory)
    components = [_component(inventory, component) for component in inventory.components]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, inventory.digest)}",
        "version": 1,
        "metadata": {
            **({"timestamp": inventory.created} if inventory.created else {}),
            "lifecycles": [{"phase": "build"}],
            "tools": {
                "components": [
                    {
                        "type": "application",
                        "name": "accelerapp-pipeline",
                        "version": inventory.builder[:12],
                    }
                ]
            },
            "component": subject,
        },
        "components": [*system, *components],
        "dependencies": _dependencies(inventory, subject["bom-ref"], system),
        "compositions": [{"aggregate": "complete", "assemblies": [subject["bom-ref"]]}],
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _subject(inventory: Inventory) -> dict[str, Any]:
    from packageurl import PackageURL

    purl = PackageURL(
        "oci", None, inventory.name, inventory.digest, {"arch": inventory.platform.architecture}
    ).to_string()
    return {
        "type": "container",
        "bom-ref": purl,
        "name": f"{inventory.name}:{inventory.target}",
        "version": inventory.digest,
        "purl": purl,
        "properties": _properties(
            platform=str(inventory.platform),
            revision=inventory.labels.get("org.opencontainers.image.revision", ""),
        ),
    }


def _operating_system(inventory: Inventory) -> list[dict[str, Any]]:
    if "ID" not in inventory.distribution:
        return []
    name = inventory.distribution["ID"]
    version = inventory.distribution.get("VERSION_ID", "")
    return [
        {
            "type": "operating-system",
            "bom-ref": f"os:{name}-{version}",
            "name": name,
            "version": version,
            "description": inventory.distribution.get("PRETTY_NAME", name),
        }
    ]


def _component(inventory: Inventory, component: Component) -> dict[str, Any]:
    purl = inventory.purl(component)
    document: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": component.name}
    document["version"] = component.version
    if component.supplier:
        document["supplier"] = {"name": component.supplier}
    if component.sha256:
        document["hashes"] = [{"alg": "SHA-256", "content": component.sha256}]
    if component.licences:
        document["licenses"] = _licences(component.licences)
    document["purl"] = purl
    if component.homepage:
        document["externalReferences"] = [{"type": "website", "url": component.homepage}]
    properties = _properties(layer=component.layer, file=component.file)
    if component.ecosystem is Ecosystem.DEBIAN:
        name, version = component.source
        epoch, colon, rest = version.partition(":")
        upstream, hyphen, revision = (rest if colon else version).rpartition("-")
        values = {
            "PkgType": "debian",
            "SrcName": name,
            "SrcEpoch": epoch if colon else "",
            "SrcVersion": upstream if hyphen else revision,
            "SrcRelease": revision if hyphen else "",
        }
        properties += [{"name": _TRIVY + k, "value": v} for k, v in values.items() if v]
    document["properties"] = properties
    return document


def _licences(expressions: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the `licenses` array: single licences, or one expression (bom-1.6.schema.json)."""
    if any(" " in expression for expression in expressions):
        return [{"expression": licences.joined(expressions), "acknowledgement": "declared"}]
    return [
        {
            "license": {
                ("name" if expression.startswith("LicenseRef-") else "id"): expression,
                "acknowledgement": "declared",
            }
        }
        for expression in expressions
    ]


def _dependencies(
    inventory: Inventory, subject: str, system: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    references = {(c.ecosystem, c.name): inventory.purl(c) for c in inventory.components}
    top = [part["bom-ref"] for part in system]
    every = [{"ref": subject, "dependsOn": sorted([*top, *references.values()])}]
    for component in inventory.components:
        needed = sorted(references[component.ecosystem, name] for name in component.requires)
        every.append({"ref": inventory.purl(component), "dependsOn": needed})
    return every


def _properties(**values: str) -> list[dict[str, str]]:
    return [{"name": _PREFIX + key, "value": value} for key, value in values.items() if value]
