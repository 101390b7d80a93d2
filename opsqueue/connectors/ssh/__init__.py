"""Hosts over SSH, on Fabric: pinned host keys, one connection and one waiting shell for each host."""
