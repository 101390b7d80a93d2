"""Rigs for the fault stories, and the table of how soon each fault was recovered from."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "integration"))

from rig import Rig

_MEASURED = pytest.StashKey[dict]()


def pytest_configure(config):
    config.stash[_MEASURED] = {}


@pytest.fixture(scope="session")
def report(request):
    """Note a fault and the seconds until the last operation that it touched had ended."""
    measured = request.config.stash[_MEASURED]
    return lambda fault, seconds: measured.setdefault(fault, []).append(round(seconds, 2))


def pytest_terminal_summary(terminalreporter, config):
    measured = config.stash.get(_MEASURED, {})
    if not measured:
        return
    terminalreporter.section("recovered after (seconds; lease 3 s)")
    for fault, seconds in measured.items():
        terminalreporter.write_line(f"{max(seconds):6.1f}  {fault}")
    if path := os.environ.get("FAULTS_JSON"):
        with Path(path).open("a") as file:
            file.write(json.dumps(measured) + "\n")


@pytest.fixture
def make_rig(tmp_path, report):
    """Make a rig with the settings of a story; ended with the test."""
    made = []

    def make(**settings):
        made.append(Rig(tmp_path / f"rig{len(made)}", report, **settings))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(make_rig):
    return make_rig()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A story that fails shows the end of the workers' log, which says why."""
    found = yield
    if found.when == "call" and found.failed:
        for part in _rigs(item):
            found.sections.append(("operations.log", part.log()[-6000:]))
            found.sections.extend((one.log.name, one.said()[-3000:]) for one in part.parts)
    return found


def _rigs(item):
    return [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Rig)]
