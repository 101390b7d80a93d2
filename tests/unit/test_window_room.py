"""How much time is left in windows: whatever they are, the answer is what going through the minutes finds."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from opsqueue.model.window import parse_window
from opsqueue.model.window_room import LATE, too_short

QUARTER = 900
BEGIN = datetime(2026, 3, 27, tzinfo=UTC).timestamp()  # two days before the clocks of Berlin go forward
CLOCKS = st.integers(0, 95).map(lambda quarter: f"{quarter // 4:02}:{quarter % 4 * 15:02}")
SPECS = st.tuples(st.sampled_from(["", "Sat,Sun ", "Mon-Fri "]), CLOCKS, CLOCKS).filter(lambda one: one[1] != one[2])
WINDOWS = st.tuples(SPECS, st.booleans()).map(
    lambda one: parse_window(
        "w", f"{one[0][0]}{one[0][1]}-{one[0][2]}", timezone="Europe/Berlin", overrun=one[1] and one[0][1] < "04"
    )
)
TOGETHER = st.lists(st.lists(WINDOWS, min_size=1, max_size=2), min_size=1, max_size=2)


def walked(each, at, seconds):
    """The same by looking at each quarter of an hour of two weeks."""
    days = range(int(at), int(at) + 14 * 86_400, QUARTER)
    is_open = [all(any(window.contains(now) for window in windows) for windows in each) for now in days]

    def room(place):
        """Seconds from there for which work may last."""
        lasts = []
        for windows in each:
            free = any(window.overrun and window.contains(days[place]) for window in windows)
            end = len(days) if free else place
            while end < len(days) and any(window.contains(days[end]) for window in windows):
                end += 1
            lasts.append((end - place) * QUARTER)
        return min(lasts)

    if not is_open[0] or room(0) >= seconds:
        return None
    begins = [n for n in range(1, len(days)) if is_open[n] and not is_open[n - 1]]
    return next((days[n] for n in begins if room(n) >= seconds + LATE), None)


@settings(max_examples=60, deadline=None)
@given(each=TOGETHER, quarter=st.integers(0, 95), quarters=st.integers(1, 16))
def test_it_is_what_going_through_the_time_finds(each, quarter, quarters):
    at, seconds = BEGIN + quarter * QUARTER, quarters * QUARTER
    found, by_hand = too_short(each, at, seconds), walked(each, at, seconds)
    if by_hand is not None and by_hand < at + 7 * 86_400:
        assert found is not None
        assert found[1] == by_hand
        assert at < found[0] < at + seconds
    elif found is not None:
        assert by_hand == found[1]


def test_what_fits_nowhere_and_what_is_closed_now_is_not_too_short():
    noon = parse_window("noon", "11:00-13:00")
    at = BEGIN + 12 * 3600
    assert too_short([(noon,)], at, 7200 - LATE) == (at + 3600, at + 23 * 3600)
    assert too_short([(noon,)], at, 7201 - LATE) is None
    assert too_short([(noon,)], at, 3600) is None
    assert too_short([(noon,)], at + 7200, 3600) is None
    assert too_short([], at, 3600) is None


def test_what_takes_as_long_as_the_window_does_not_wait_for_ever():
    noon = parse_window("noon", "11:00-13:00")
    for seconds in range(6600, 7300, 50):
        held, at = 0, BEGIN + 12 * 3600
        while (short := too_short([(noon,)], at, seconds)) is not None:
            held, at = held + 1, short[1] + 60  # until it is begun, its host was read and all was asked once more
            assert held < 2, f"{seconds} s are too long for each opening"
