"""What keeps the fast tests fast: few examples of each property here, a thousand in `make test-long`."""

from __future__ import annotations

import gc
import os

from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", parent=settings.get_profile("quick"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

gc.disable()  # what is collected and imported stays to the end: looking through it again and again frees nothing


def pytest_collection_finish():
    """From here on there is garbage again, in what the tests themselves make."""
    gc.freeze()
    gc.enable()
