"""Certificates for servers of tests, made by openssl."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def make_certificate(folder: Path, *hosts: str, unchecked: str) -> Path:
    """Return a certificate for `hosts` with its key, in one file.

    Without openssl the test fails in CI, and is skipped elsewhere; `unchecked` says what nobody
    looked at then.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        message = f"openssl is not here. Not checked: {unchecked}"
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    key, path = folder / "key.pem", folder / "certificate.pem"
    names = ",".join(f"DNS:{host}" for host in hosts)
    subprocess.run(
        (
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-keyout", str(key), "-out", str(path)),
            *("-subj", "/CN=a test", "-addext", f"subjectAltName={names}"),
        ),
        check=True,
        capture_output=True,
        timeout=60,
    )
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path
