"""Whatever a scan runs on a host runs behind everything else: with the lowest priority, and when the disk is idle."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from opsqueue.model.fact import Script
from opsqueue.operations.security_scan import OPERATION

CHECKS = ("vulnerabilities", "configuration", "permissions", "lynis", "integrity")
FACTS = {fact.name: fact for fact in OPERATION.facts(OPERATION.params(checks=CHECKS, sudo=False))}
PROGRAMS: Mapping[str, str] = {
    "advisories": "python3", "settings": "python3", "files": "python3", "lynis": "lynis", "integrity": "dpkg",
}  # fmt: skip


def _idle() -> bool:
    """Whether this machine lets a program wait until the disk is idle."""
    return bool(shutil.which("ionice")) and not subprocess.run(["ionice", "-c", "3", "true"], check=False).returncode


@pytest.mark.parametrize("fact", sorted(PROGRAMS))
def test_it_runs_behind_everything_else(tmp_path: Path, fact: str) -> None:
    told = tmp_path / "told"
    place = tmp_path / "programs"
    place.mkdir()
    program = place / PROGRAMS[fact]
    program.write_text(f'#!/bin/sh\nnice >"{told}"\nionice -p $$ >>"{told}"\n')
    program.chmod(0o755)
    ask = FACTS[fact].ask
    assert isinstance(ask, Script)
    env = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    subprocess.run(["sh", "-c", ask.text, "sh", *ask.args], capture_output=True, check=False, env=env, timeout=60)
    number, *disk = told.read_text().splitlines()
    assert number == "19"
    if _idle():
        assert disk == ["idle"]


@pytest.mark.parametrize("fact", sorted(PROGRAMS))
def test_it_has_an_end(fact: str) -> None:
    ask = FACTS[fact].ask
    assert isinstance(ask, Script)
    assert 0 < ask.timeout <= 300
