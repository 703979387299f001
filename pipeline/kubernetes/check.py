"""What is wrong with the objects of a release: schemas, the restricted profile, our own rules."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.findings import Finding
from pipeline.kubernetes.objects import KubernetesObject
from pipeline.kubernetes.restricted import against_restricted
from pipeline.kubernetes.rules import Release
from pipeline.kubernetes.rules import findings as against_rules
from pipeline.kubernetes.schemas import against_schema
from pipeline.settings import Settings


def check_objects(
    objects: Sequence[KubernetesObject], settings: Settings, versions: Sequence[str]
) -> list[Finding]:
    """Return what is wrong with the objects of one release, sorted.

    Objects of another shape than the schemas allow are not looked at further: that would only
    say so again in other words.  Raises `ToolMissing` where the schemas are not installed.
    """
    found = {
        Finding(one.place, f"kubernetes-{version}", f"{one.title}: {_told(field, message)}")
        for one in objects
        for version in versions
        for field, message in against_schema(one, version)
    }
    if found:
        return sorted(found)
    found |= {
        Finding(one.place, "restricted", f"{one.title}: {_told(field, message)}")
        for one in objects
        if one.template
        for field, message in against_restricted(one.template)
    }
    found.update(against_rules(Release(objects, settings)))
    return sorted(found)


def _told(field: str, message: str) -> str:
    return f"{field}: {message}" if field else message
