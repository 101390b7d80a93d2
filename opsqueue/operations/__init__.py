"""The catalogue of operation types, written by hand; other people's come through `opsqueue.operations`."""
