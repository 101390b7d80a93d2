"""`python -m opsqueue` is the command `opsqueue`."""

from __future__ import annotations

import sys

from opsqueue.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
