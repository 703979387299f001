"""Registries as this user may use them: with the credentials of files, helpers, environment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.oci.registry.reference import Repository

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry
    from pipeline.oci.registry.credentials import Credentials


@contextlib.contextmanager
def open_registry(
    pushed_to: Repository | None = None,
    *,
    plain_http: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Registry]:
    """Yield the client of registries.

    REGISTRY_USERNAME and REGISTRY_PASSWORD are for the registry of `pushed_to`, and for no
    other.  Credentials are looked for when a registry asks for them, so what is wrong with
    them is raised then; see `find_credentials`.
    """
    from pipeline.oci.registry.client import Registry

    credentials = partial(credentials_for, pushed_to=pushed_to, environ=environ)
    with Registry(credentials=credentials, plain_http=plain_http) as registry:
        yield registry


def credentials_for(
    asked: Repository,
    *,
    pushed_to: Repository | None = None,
    environ: Mapping[str, str] | None = None,
) -> Credentials | None:
    """Return this user's credentials for a repository, found as `open_registry` says."""
    from pipeline.oci.registry.credentials import find_credentials

    return find_credentials(
        asked,
        environ=os.environ if environ is None else environ,
        home=Path(os.path.expanduser("~")),
        use_environment=pushed_to is not None and asked.registry == pushed_to.registry,
    )
