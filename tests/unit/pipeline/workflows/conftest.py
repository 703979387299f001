"""What holds for the tests of workflows."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from pipeline.workflows import document


@pytest.fixture(scope="package", autouse=True)
def read_once() -> Iterator[None]:
    """Read a text once: nearly every test has nearly the same files, and YAML takes its time."""
    with pytest.MonkeyPatch.context() as patch:
        read = functools.lru_cache(maxsize=256)(document.parse_document)
        patch.setattr(document, "parse_document", read)
        yield
