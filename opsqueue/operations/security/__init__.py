"""The parts of `security_scan`."""
