"""The miniature repository whose SBOMs are known."""

from tests.unit.pipeline.sbom.conftest import world

__all__ = ["world"]
