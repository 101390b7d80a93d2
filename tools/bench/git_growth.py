"""Make growth.csv: how many bytes public git repositories had ever been given, day by day.

They only grow, in steps and with quiet weeks, as a volume does. `python tools/bench/git_growth.py DIR… > growth.csv`
with directories of git repositories; each gives its last `DAYS` days, in KiB.
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

DAYS = 730
_DAY = 86_400


def _git(directory: str, *words: str, given: str = "") -> str:
    command = ["git", "-c", "safe.directory=*", "-C", directory, *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True, errors="replace").stdout


def added(directory: str) -> dict[int, int]:
    """Bytes of the files that were new on each day, UNIX days UTC."""
    day, first = 0, {}
    log = _git(directory, "log", "--no-merges", "--reverse", "--raw", "--no-abbrev", "--no-renames", "--format=@%ct")
    for line in log.splitlines():
        if line.startswith("@"):
            day = int(line[1:]) // _DAY
        elif line.startswith(":"):
            first.setdefault(line.split()[3], day)
    asked = "".join(f"{name}\n" for name in first)
    found: dict[int, int] = defaultdict(int)
    form = "--batch-check=%(objectname) %(objecttype) %(objectsize)"
    for row in _git(directory, "cat-file", form, given=asked).splitlines():
        name, kind, *size = row.split()
        if kind == "blob":
            found[first[name]] += int(size[0])
    return found


def main() -> None:
    print("# series, its first day since 1970, then for each day the KiB that were ever stored")
    for directory in sys.argv[1:]:
        by_day = added(directory)
        total, rows = 0, []
        for day in range(min(by_day), max(by_day) + 1):
            total += by_day.get(day, 0)
            rows.append((day, total // 1024))
        name = Path(directory).parent.name.replace("+", "/")
        kept = rows[-DAYS:]
        print(",".join([name, str(kept[0][0]), *(str(kib) for _day, kib in kept)]))


if __name__ == "__main__":
    main()
