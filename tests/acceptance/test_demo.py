"""A fresh clone and an empty home: the demonstration prints six stages, real metrics, and where the history is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from place import PROJECT, SIX

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("demo")]

FULL = os.environ.get("DEMO") == "full"
"""With DEMO=full, `make demo` itself is run, which builds and installs everything anew: a minute or two."""


@pytest.fixture
def clone(place):
    """The files that a clone has once all of it is committed, in a directory of their own."""
    if shutil.which("git") is None or not (PROJECT / ".git").exists():
        pytest.skip("not a git clone")
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    ).stdout
    there = place.directory / "clone"
    for name in filter(None, names.decode().split("\0")):
        if (PROJECT / name).is_file():
            (there / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, there / name)
    return there


def _demo(place, clone):
    """The demonstration with this test's own installation, the code from the clone; nothing is configured."""
    environment = {key: value for key, value in place.environment.items() if not key.startswith("OPSQUEUE_")}
    command = ["make", "demo"] if FULL else [sys.executable, "tools/demo.py"]
    return subprocess.run(
        command, cwd=clone, env={**environment, "PYTHONPATH": str(clone)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=600 if FULL else 60, check=False,
    )  # fmt: skip


def test_the_demonstration(place, clone):
    assert not any(place.home.iterdir())
    done = _demo(place, clone)
    assert done.returncode == 0, done.stdout + done.stderr
    for stage in SIX:
        assert re.search(rf"^{stage} +✓", done.stdout, re.MULTILINE), done.stdout
    used = re.search(r"^memory_usage +([0-9.]+) %", done.stdout, re.MULTILINE)
    assert used, done.stdout
    assert abs(float(used[1]) - psutil.virtual_memory().percent) < 30
    assert re.search(r"^cpu_usage +[0-9.]+ %", done.stdout, re.MULTILINE)
    record = re.search(r"^The history lies in (.+)$", done.stdout, re.MULTILINE)
    assert Path(record[1]).stat().st_size > 0
    assert Path(record[1]).is_relative_to(place.home)
    assert "opsqueue history" in done.stdout
    _the_history_is_there(place)


def _the_history_is_there(place):
    environment = {key: value for key, value in place.environment.items() if not key.startswith("OPSQUEUE_")}
    shown = subprocess.run(
        ["opsqueue", "history"], cwd=place.home, env=environment, capture_output=True, text=True, check=True
    )
    assert "first-look" in shown.stdout
    place.ended_by_itself()
