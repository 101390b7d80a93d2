"""What a message costs on a telephone: its alphabet, its parts, and how it is made shorter without losing its link."""

from __future__ import annotations

import re
from dataclasses import dataclass

_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The letters of GSM 03.38 that cost one place."""
_GSM_TWO = frozenset("\f^{}\\[~]|€")
"""Those that cost two."""
_ONE_PART = {"GSM-7": 160, "UCS-2": 70}
_OF_MANY = {"GSM-7": 153, "UCS-2": 67}
"""Places in each part where there are several: the rest says which part it is."""
_LINK = re.compile(r"https?://\S+|\bopsqueue [a-z]+ \S+")
_CUT = "..."


@dataclass(frozen=True, slots=True)
class Cost:
    """What one message costs."""

    alphabet: str
    """`GSM-7`, or `UCS-2` as soon as one letter needs it."""
    places: int
    parts: int


def cost(text: str) -> Cost:
    """The alphabet that a text needs, the places that it takes, and the parts in which it is sent."""
    if all(char in _GSM or char in _GSM_TWO for char in text):
        widths, alphabet = [2 if char in _GSM_TWO else 1 for char in text], "GSM-7"
    else:
        widths, alphabet = [len(char.encode("utf-16-le", "surrogatepass")) // 2 for char in text], "UCS-2"
    if sum(widths) <= _ONE_PART[alphabet]:
        return Cost(alphabet, sum(widths), 1)
    return Cost(alphabet, sum(widths), _parts(widths, _OF_MANY[alphabet]))


def fitted(text: str, parts: int) -> str:
    """The text in at most so many parts; its last link or command stays whole, none is cut in the middle."""
    if cost(text).parts <= parts:
        return text
    links = list(_LINK.finditer(text))
    kept = links[-1].group() if links and cost(links[-1].group()).parts <= parts else ""
    head = text[: links[-1].start()] if kept else text
    for end in range(len(head), -1, -1):
        if any(link.start() < end < link.end() for link in links):
            continue
        before = head[:end].rstrip()
        shorter = f"{before}{_CUT} {kept}" if before and kept else f"{before}{_CUT}" if before else kept
        if cost(shorter).parts <= parts:
            return shorter
    return kept


def _parts(widths: list[int], room: int) -> int:
    """A letter of two places is never divided between two parts."""
    parts, used = 1, 0
    for width in widths:
        if used + width > room:
            parts, used = parts + 1, 0
        used += width
    return parts
