"""Requests made up from /openapi.json: whatever comes, an answer that the document describes.

The real service in a process of its own, with an output directory to save to.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS

from accelerapp import openapi
from accelerapp.settings import Settings

SOURCE = Path(__file__).resolve().parents[2] / "src"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
# What the schema cannot say: pins that fit and are used once, names that differ and are no
# keywords. So a body that is right by the schema may be refused, with 422.
EXCLUDED = {"positive_data_acceptance"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "accelerapp", "serve", "--port", "0"],
        env={
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "ACCELERAPP_OUTPUT_DIR": str(tmp_path_factory.mktemp("output")),
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        address = process.stderr.readline().rpartition(" ")[2].strip()
        yield address
        # Of both kinds there were some, or nothing was tried.
        with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
            counted = answer.read().decode()
        for status in ("200", "400", "415", "422"):
            assert f'route="/v1/generate",status="{status}"' in counted, status
    finally:
        process.terminate()
        _, logged = process.communicate(timeout=30)
        assert process.returncode == 0
    assert "failed" not in logged
    assert "Traceback" not in logged


schema = schemathesis.openapi.from_dict(json.loads(openapi.document(Settings.load({}))))
checks = [check for check in CHECKS.get_all() if check.__name__ not in EXCLUDED]


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_described(case: schemathesis.Case, url: str) -> None:
    case.call_and_validate(base_url=url, checks=checks)
