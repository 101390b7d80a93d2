"""How the tables came to be what they are; run by `opsqueue db upgrade` and `opsqueue up`."""
