"""Every number is written as an instant, and none raises."""

from __future__ import annotations

import math

import pytest

from opsqueue.model.instant import local_text, utc_text
from opsqueue.telemetry import iso


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (1_800_000_000.9, "2027-01-15T08:00:00Z"),
        (-0.5, "1969-12-31T23:59:59Z"),
        (-62_135_683_140.0, "0001-01-02T00:00:00Z"),
        (253_402_387_140.0, "9999-12-31T00:00:00Z"),
        (math.inf, "9999-12-31T00:00:00Z"),
        (-math.inf, "0001-01-02T00:00:00Z"),
        (1.7e308, "9999-12-31T00:00:00Z"),
        (math.nan, "0001-01-02T00:00:00Z"),
    ],
)
def test_whatever_the_record_holds_is_written(at, text):
    assert utc_text(at) == text
    assert iso(at)[:10] == text[:10]
    for zone in ("Asia/Tokyo", "America/New_York", "Pacific/Kiritimati"):
        assert local_text(at, zone).endswith(zone)
