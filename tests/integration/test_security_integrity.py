"""The script that asks dpkg which files were changed, beside a dpkg that says what it is told to say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from opsqueue.facts import security
from opsqueue.model.fact import read, why_unknown
from opsqueue.model.plan import Result
from opsqueue.operations.security import found
from opsqueue.operations.security.params import SecurityScanParams

FACT = security.integrity(sudo=False, seconds=60)


def _asked(path: Path, text: str) -> Any:
    """What the fact is, with a program by the name of dpkg that is this text."""
    program = path / "dpkg"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", "TMPDIR": str(path)}
    done = subprocess.run(["sh", "-c", FACT.ask.text], capture_output=True, text=True, check=False, env=env)
    assert [one.name for one in path.iterdir()] == ["dpkg"]
    return read(FACT, Result(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr))


def _gaps(answer: Any) -> list[str]:
    return [gap.why for gap in found.missing(SecurityScanParams(checks=("integrity",)), {"integrity": answer}, ())]


@pytest.mark.parametrize("code", [0, 1])
def test_changed_files_are_told_behind_any_number_of_missing_ones(tmp_path: Path, code: int) -> None:
    text = f"""i=0; while [ $i -lt 30000 ]; do echo "missing     /usr/share/doc/$i"; i=$((i+1)); done
echo '??5?????? c /etc/chosen'
echo '??5??????   /usr/bin/a b'
exit {code}"""
    answer = _asked(tmp_path, text)
    assert answer == {"changed": ["/usr/bin/a b"], "number": 1, "missing": 30000, "said": ""}
    assert _gaps(answer) == []


def test_a_dpkg_that_failed_found_nothing_out(tmp_path: Path) -> None:
    answer = _asked(tmp_path, "echo 'dpkg: error: the database is locked' >&2; exit 2")
    assert why_unknown(answer) == "dpkg --verify ended with 2: dpkg: error: the database is locked"


def test_a_dpkg_that_complains_looked_at_less(tmp_path: Path) -> None:
    answer = _asked(tmp_path, "echo '??5??????   /usr/bin/x'; echo 'dpkg: warning: a list is missing' >&2")
    assert answer["changed"] == ["/usr/bin/x"]
    assert _gaps(answer) == ["dpkg --verify looked at less than everything: dpkg: warning: a list is missing"]


def test_an_answer_that_was_cut_is_unknown(tmp_path: Path) -> None:
    answer = Result(
        exit_code=None, stdout="code=0\nmissing=0\nsaid=\nnumber=5\n??5??????   /usr/bin/x\n", timed_out=True
    )
    assert "time limit" in (why_unknown(read(FACT, answer)) or "")


def test_more_changed_files_than_are_told_are_counted(tmp_path: Path) -> None:
    answer = _asked(tmp_path, "seq -f '??5??????   /usr/lib/x%g' 1500")
    assert (len(answer["changed"]), answer["number"]) == (security.MOST_CHANGED, 1500)
    assert _gaps(answer) == ["1500 files were changed, and not all of them are told"]
