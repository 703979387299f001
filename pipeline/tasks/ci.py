"""GitHub's workflows: checked, and foretold."""

from __future__ import annotations

from invoke.collection import Collection

from pipeline.tasks import workflows

collection = Collection("ci")
collection.add_task(workflows.check)
collection.add_task(workflows.foretell)
