"""The embedded system for as long as there is work: `python -m opsqueue.tasks.transient`.

Started by `opsqueue execute` where no system runs; ends by itself when nothing is left to do and nobody waits.
"""

from __future__ import annotations

import argparse

from opsqueue.settings import load
from opsqueue.tasks import parts


def main() -> int:
    """Run until there is nothing left to do."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    config = parser.parse_args().config
    return parts.up(load(config), config=config, transient=True)


if __name__ == "__main__":
    raise SystemExit(main())
