"""Places for acceptance tests; each test, or module, has its own, and whatever it started ends with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from place import Place

_PLACES = pytest.StashKey[list]()


@pytest.fixture
def make_place(request):
    """Make a place with settings; ended with the test."""
    made: list[Place] = []
    request.node.stash[_PLACES] = made

    def make(**settings) -> Place:
        made.append(Place(**settings))
        return made[-1]

    yield make
    for place in made:
        place.end()


@pytest.fixture
def place(make_place):
    return make_place()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that fails shows the end of the logs, which say why."""
    found = yield
    if found.when == "call" and found.failed:
        for place in (value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Place)):
            found.sections.append(("operations.log", place.log()[-5000:]))
            found.sections.append(("embedded.log", place.log("embedded.log")[-3000:]))
    return found
