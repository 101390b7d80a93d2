"""Questions about a host, one file per subject; each is asked without changing anything."""
