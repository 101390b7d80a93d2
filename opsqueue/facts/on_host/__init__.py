"""Programs that are sent to a host as text and run there by its own Python 3.9 or newer; each needs only itself."""

from __future__ import annotations

from pathlib import Path


def program(name: str) -> str:
    """The text of one of them."""
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
