from opsqueue.cli.main import main

raise SystemExit(main())
