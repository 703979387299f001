"""What holds for every unit test."""

from __future__ import annotations

from hypothesis import settings

# No deadline: a slow machine is no failure.  The same examples each time: a test that fails
# here fails everywhere.
settings.register_profile("everywhere", deadline=None, derandomize=True)
settings.load_profile("everywhere")
