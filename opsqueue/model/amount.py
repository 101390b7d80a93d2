"""Numbers with their units as people write them."""

from __future__ import annotations

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP = 1024


def size(value: float) -> str:
    """Bytes in the unit that fits: `512 B`, `1.5 GiB`."""
    for unit in _SIZES[:-1]:
        if abs(value) < _STEP:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    return f"{value:.1f} {_SIZES[-1]}"


def amount(value: float | None, unit: str) -> str | None:
    """A metric with its unit; None where it is not known, never 0."""
    if value is None:
        return None
    if unit.startswith("bytes"):
        return size(value) + unit.removeprefix("bytes")
    if unit == "percent":
        return f"{value:.1f} %"
    digits = f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"  # noqa: PLR2004 - no exponent for people
    return f"{digits} {unit}" if unit else digits
