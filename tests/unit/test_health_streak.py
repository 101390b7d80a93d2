"""Soft and hard states: the sequences that Gatus made known, and what no golden case can say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsqueue.operations.health.streak import Limits, Streak, next_streak
from opsqueue.operations.health.times import percentile

F, S = True, False
"""It failed; it succeeded."""


def sequence(before: Streak | None, results: list[bool], limits: Limits) -> list[tuple[int, int, bool]]:
    found, now = [], before
    for failed in results:
        now = next_streak(now, failed, limits)
        found.append((now.failures, now.successes, now.down))
    return found


def test_the_sequence_of_gatus_exactly() -> None:
    """TestHandleAlerting: failure threshold 2, success threshold 3, not triggered at first."""
    found = sequence(Streak(), [F, F, F, F, S, S, S, S], Limits(failures=2, successes=3))
    assert found == [
        (1, 0, False), (2, 0, True), (3, 0, True), (4, 0, True),
        (0, 1, True), (0, 2, True), (0, 3, False), (0, 4, False),
    ]  # fmt: skip


def test_what_is_almost_up_and_fails_again_stays_down() -> None:
    before = Streak(failures=1, down=True)
    assert sequence(before, [F], Limits(failures=2, successes=3)) == [(2, 0, True)]
    assert sequence(Streak(successes=2, down=True), [F, S, S, S], Limits(failures=2, successes=3)) == [
        (1, 0, True), (0, 1, True), (0, 2, True), (0, 3, False),
    ]  # fmt: skip


@pytest.mark.parametrize(("results", "down"), [([F], True), ([S], False), ([F, S], True), ([F, S, S], False)])
def test_the_first_result_is_how_it_stands(results: list[bool], down: bool) -> None:
    assert sequence(None, results, Limits())[-1][2] is down


def test_it_is_kept_since_when_it_fails_until_it_is_up_again() -> None:
    now, found = Streak(successes=1), []
    for at, failed in enumerate([S, F, S, F, F, F, S, F, S, S]):
        now = next_streak(now, failed, Limits(), at=float(at))
        found.append(now.since)
    assert found == [None, 1, None, 3, 3, 3, 3, 3, 3, None]


def test_what_is_certain_counts_at_once() -> None:
    assert next_streak(Streak(successes=9), F, Limits(), certain=True).down


def test_a_check_that_flaps_never_changes_its_state() -> None:
    assert {down for _, _, down in sequence(Streak(successes=5), [F, S] * 50, Limits())} == {False}
    assert {down for _, _, down in sequence(Streak(failures=5, down=True), [S, F] * 50, Limits())} == {True}


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 5), st.integers(1, 5))
def test_it_turns_only_after_enough_in_a_row(results: list[bool], failures: int, successes: int) -> None:
    limits, now = Limits(failures=failures, successes=successes), Streak()
    for number, failed in enumerate(results):
        before, now = now, next_streak(now, failed, limits)
        if now.down is not before.down:
            enough = failures if now.down else successes
            assert number + 1 >= enough
            assert set(results[number + 1 - enough : number + 1]) == {failed}


@pytest.mark.parametrize(
    ("values", "percent", "found"),
    [([7], 95, 7), (list(range(1, 101)), 50, 50), (list(range(1, 101)), 95, 95), (list(range(1, 21)), 99, 20)],
)
def test_percentiles_are_values_that_were_measured(values: list[float], percent: int, found: float) -> None:
    assert percentile(values, percent) == found
