"""Probes, one module for each kind; `run` makes them, and is what others ask."""
