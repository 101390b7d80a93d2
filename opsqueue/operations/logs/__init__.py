"""The parts of `log_rotation`."""
