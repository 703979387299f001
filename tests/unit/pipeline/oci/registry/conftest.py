"""What tests of the registry room share: no proxy of this machine, a registry with a door."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.unit.pipeline.oci.registry.faulty_registry import FaultyRegistry


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the machine's proxies out of the environment."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def guarded() -> Iterator[FaultyRegistry]:
    """Yield a registry that wants a token of `me`, and gives none for `o/theirs`."""
    with FaultyRegistry(users={"me": "pass word"}, denied=["o/theirs"]) as registry:
        yield registry
