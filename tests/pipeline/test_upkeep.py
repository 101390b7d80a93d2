"""Housekeeping beside others who write."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from opsqueue.model.kind import Metric
from opsqueue.pipeline import upkeep as house
from opsqueue.store import samples

DAY = 86_400.0
START = 1_800_000_000.0 // DAY * DAY


@pytest.mark.parametrize(("took", "pause"), [(0.0, None), (0.05, 0.1), (2.0, 2.0), (60.0, 5.0)])
def test_after_each_piece_others_have_as_long(monkeypatch, took, pause):
    clock, slept = iter([100.0, 100.0 + took]), []
    # Its own clock, not everybody's: the threads of the test run ask theirs at the same time.
    monkeypatch.setattr(house, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=slept.append))
    with house._politely():
        pass
    assert slept == ([] if pause is None else [pytest.approx(pause)])


def test_samples_are_summarised_in_transactions_of_their_own_with_room_between(story, monkeypatch):
    number = Metric(name="value", value=1.0, unit="")
    with story.store.begin() as tx:
        taken = [samples.Taken(host="h1", at=START + 60 * k, metrics={"value": number}) for k in range(200)]
        samples.add(tx, taken)
    at_work, free = [], []
    real = story.store.begin

    def begin(*given, **more):
        at_work.append(1)
        return real(*given, **more)

    monkeypatch.setattr(story.store, "begin", begin)
    monkeypatch.setattr(house, "_HARDLY", -1.0)
    monkeypatch.setattr(
        house, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: free.append(len(at_work)))
    )
    house._roll(story.world(), START + 3 * DAY)
    assert len(at_work) > 1
    assert free == list(range(1, len(at_work) + 1)), "after each one"
