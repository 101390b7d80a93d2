"""Run tests side by side; the few that fail there are run once more, alone, and named.

Real servers, kills and clocks on a machine that others use as well: now and then a test fails for want of time. It is
told apart from a defect by running it alone. Nothing is hidden: what passed only then is named at the end, and is a
defect of the test or of opsqueue to be looked into. `make faults` and `make test-long` give no second chance.

Usage: with_neighbours.py ARGUMENT_OF_PYTEST...
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_FAILED = 1
"""The exit status of pytest when all was run and something failed."""
_FEW = 4
"""More than so many at once are no matter of time."""
_GROUP = re.compile(r"@[^\]]+$")
"""What pytest-xdist puts behind the name of a test that belongs to a group."""


def main(given: list[str]) -> int:
    """Pytest's exit status, or that of the second try."""
    with tempfile.TemporaryDirectory(prefix="oq-tests-") as place:
        pytest = [sys.executable, "-m", "pytest", "-q", "-o", f"cache_dir={place}"]
        status = subprocess.run([*pytest, *given], check=False).returncode
        failed = _failed(Path(place))
        if status != _FAILED or not 0 < len(failed) <= _FEW:
            return status
        print(f"== once more, alone: {', '.join(failed)}", flush=True)
        status = subprocess.run([*pytest, *failed], check=False).returncode
    if status == 0:
        print(f"== FAILED beside others and passed alone, look into it: {', '.join(failed)}", flush=True)
    return status


def _failed(cache: Path) -> list[str]:
    try:
        failed = json.loads((cache / "v/cache/lastfailed").read_text())
    except OSError:
        return []
    return sorted(_GROUP.sub("", name) for name in failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
