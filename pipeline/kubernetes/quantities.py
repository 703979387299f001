"""Kubernetes' quantities as numbers: `500m`, `1.5`, `128Mi`, `1e3`.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def quantity(value: Any) -> Decimal | None:
    """Return the number that a quantity stands for, None for what is none."""
    found = re.fullmatch(
        r"([+-]?[0-9]+(?:\.[0-9]*)?|[+-]?\.[0-9]+)(?:[eE]([+-]?[0-9]{1,2})|([A-Za-z]*))",
        str(value),
    )
    if found is None:
        return None
    number, exponent, unit = Decimal(found[1]), found[2], found[3] or ""
    if exponent:
        return number.scaleb(int(exponent))
    if unit in _BINARY:
        return number * Decimal(1024 ** _BINARY[unit])
    return number.scaleb(_DECIMAL[unit]) if unit in _DECIMAL else None
