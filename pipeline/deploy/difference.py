"""What an upgrade would change: two sets of objects, compared object by object."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.kubernetes.objects import KubernetesObject, mapping

_CHART_LABELS = frozenset({"helm.sh/chart", "app.kubernetes.io/managed-by"})
_CONTEXT = 3


@dataclass(frozen=True, slots=True)
class Change:
    """One object that is added, removed or changed; `lines` are those of a unified diff."""

    title: str
    what: str
    """`added`, `removed` or `changed`."""
    lines: tuple[str, ...]


def changes(
    before: Sequence[KubernetesObject], after: Sequence[KubernetesObject]
) -> tuple[Change, ...]:
    """Return what differs, in the order of `after` and then what is removed.

    Hooks are no objects of a release.  Labels that name the chart are not compared: they alone
    change nothing.
    """
    old, new = _by_title(before), _by_title(after)
    found = []
    for title in [*new, *(title for title in old if title not in new)]:
        one, other = old.get(title), new.get(title)
        if one is not None and other is not None and _plain(one) == _plain(other):
            continue
        what = "added" if one is None else "removed" if other is None else "changed"
        found.append(Change(title, what, tuple(_diff(title, one, other))))
    return tuple(found)


def _by_title(objects: Sequence[KubernetesObject]) -> dict[str, KubernetesObject]:
    return {found.title: found for found in objects if not found.is_hook}


def _plain(found: KubernetesObject) -> Mapping[str, Any]:
    labels = {key: value for key, value in found.labels.items() if key not in _CHART_LABELS}
    return {**found.data, "metadata": {**found.metadata, "labels": labels}}


def _diff(
    title: str, before: KubernetesObject | None, after: KubernetesObject | None
) -> Iterator[str]:
    old, new = (
        _yaml(_plain(one)).splitlines() if one is not None else [] for one in (before, after)
    )
    yield from difflib.unified_diff(
        old, new, f"{title} (now)", f"{title} (then)", n=_CONTEXT, lineterm=""
    )


def _yaml(data: Mapping[str, Any]) -> str:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 120
    stream = io.StringIO()
    yaml.dump(_sorted(data), stream)
    return stream.getvalue()


def _sorted(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _sorted(node[key]) for key in sorted(node)}
    return [_sorted(value) for value in node] if isinstance(node, list) else node


def pods_differ(before: KubernetesObject | None, after: KubernetesObject | None) -> bool:
    """Whether a workload would get new pods."""
    return mapping(before.template if before else None) != mapping(
        after.template if after else None
    )
