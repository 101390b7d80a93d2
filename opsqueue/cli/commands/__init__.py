"""One file for each command, named as the command: `options(parser)` says what it takes, `run(given)` does it."""
