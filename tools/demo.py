"""`make demo`: one real guarded operation on this machine, and what to do next. No root, no Docker, no server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from opsqueue.connectors.inventory.directory import read_inventory
from opsqueue.settings import load

OPSQUEUE = str(Path(sys.executable).parent / "opsqueue")
HOST = "localhost"

NEXT = """
What to try next (the command is .venv/bin/opsqueue):

  opsqueue history                     what ended, newest first
  opsqueue show ID                     everything about one operation
  opsqueue plan --name look --type health_check --systems {host}
                                       hosts, commands and verdicts; sends nothing
  opsqueue types                       what it can do
  opsqueue up                          the whole system in the foreground, with Beat and Flower
"""


def main() -> int:
    settings = load()
    inventory = read_inventory(settings)
    host = HOST if HOST in inventory else next(iter(inventory))
    print(
        f"A reading of this machine's system metrics, asked for, guarded, done and remembered, as `{host}`:\n",
        flush=True,
    )
    argv = [OPSQUEUE, "execute", "--name", "first-look", "--type", "system_monitoring", "--systems", host]
    done = subprocess.run([*argv, "--description", "make demo", "--wait"], check=False, stderr=subprocess.STDOUT)
    if done.returncode:
        print(f"\nThe demonstration went wrong: exit status {done.returncode}. What is missing: {OPSQUEUE} doctor")
        return done.returncode
    print(f"\nThe history lies in {settings.database.removeprefix('sqlite:///')}")
    print(NEXT.format(host=host))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
