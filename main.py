"""`python main.py` is the command `opsqueue`."""

from opsqueue.cli.main import main

raise SystemExit(main())
