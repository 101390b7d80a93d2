"""The whole system on one machine: its Redis and its parts as child processes."""
