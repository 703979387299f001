"""What an upgrade would change: two sets of objects, compared object by object."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.kubernetes.objects import KubernetesObject, mapping
from pipeline.kubernetes.rules import SECRET

_CHART_LABELS = frozenset({"helm.sh/chart", "app.kubernetes.io/managed-by"})
_CONTEXT = 3


@dataclass(frozen=True, slots=True)
class Change:
    """One object that is added, removed or changed; `lines` are those of a unified diff."""

    title: str
    what: str
    """`added`, `removed` or `changed`."""
    lines: tuple[str, ...]
    is_selector: bool = False
    """Whether it is a Service that selects other pods, and nothing else of it changes."""


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
        selects = one is not None and other is not None and _is_selector(one, other)
        found.append(Change(title, what, tuple(_diff(title, one, other)), selects))
    return tuple(found)


def _is_selector(before: KubernetesObject, after: KubernetesObject) -> bool:
    if before.kind != "Service":
        return False
    one, other = (
        {**plain, "spec": {k: v for k, v in mapping(plain.get("spec")).items() if k != "selector"}}
        for plain in map(_plain, (before, after))
    )
    return one == other


def _by_title(objects: Sequence[KubernetesObject]) -> dict[str, KubernetesObject]:
    return {found.title: found for found in objects if not found.is_hook}


def _plain(found: KubernetesObject) -> Mapping[str, Any]:
    labels = {key: value for key, value in found.labels.items() if key not in _CHART_LABELS}
    return {**found.data, "metadata": {**found.metadata, "labels": labels}}


def _diff(
    title: str, before: KubernetesObject | None, after: KubernetesObject | None
) -> Iterator[str]:
    first, second = (_plain(one) if one is not None else {} for one in (before, after))
    old, new = (
        _yaml(shown).splitlines() if shown else [] for shown in _without_secrets(first, second)
    )
    yield from difflib.unified_diff(
        old, new, f"{title} (now)", f"{title} (then)", n=_CONTEXT, lineterm=""
    )


def _without_secrets(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return two objects as anybody may read them: secrets say only whether they are another."""
    kinds = {before.get("kind"), after.get("kind")}

    def hidden(value: Any, same: bool) -> str:
        return "***" if same else f"*** ({len(str(value))} characters)"

    def hide(node: Any, other: Any, name: str = "") -> Any:
        if isinstance(node, Mapping):
            named = str(node.get("name", ""))
            secret = "value" in node and bool(SECRET.search(named))
            return {
                key: hidden(value, mapping(other).get(key) == value)
                if (key == "value" and secret)
                or (name in ("data", "stringData") and "Secret" in kinds)
                else hide(value, mapping(other).get(key), str(key))
                for key, value in node.items()
            }
        if isinstance(node, list):
            others = other if isinstance(other, list) else []
            by_name = {mapping(one).get("name"): one for one in others}
            return [
                hide(
                    one, by_name.get(mapping(one).get("name")) if isinstance(one, Mapping) else None
                )
                for one in node
            ]
        return node

    return hide(before, after), hide(after, before)


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
