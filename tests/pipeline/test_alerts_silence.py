"""Silence counts only while somebody looks: opsqueue's own absence is nobody's silence, a silent host still is."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from opsqueue.pipeline import alert_tick
from opsqueue.pipeline.alert_tick import tick
from opsqueue.store import alerts, holds

HIGH = {"name": "high", "metric": "value", "threshold": 5, "for_s": 0, "clear": 5}
PATIENCE = 180
"""Three intervals of a minute."""


@dataclass
class Cluster:
    """Hosts that are read by the minute, and workers that look at alerts every second."""

    story: object
    rule: dict = field(default_factory=lambda: dict(HIGH))
    more: dict = field(default_factory=dict)
    workers: tuple = ("worker-1",)

    def world(self, worker):
        return self.story.world(worker, alerts={"built_in": False, "rules": [self.rule], **self.more})

    def read(self, value=9):
        """The host answers."""
        self.story.machines["h1"].value = value
        self.story.drive(
            self.story.ask("look_value", systems=("h1",)), alerts={"built_in": False, "rules": [self.rule], **self.more}
        )

    def run(self, seconds, step=1):
        """The system runs, and the host is not read."""
        until = self.story.clock.at + seconds
        while self.story.clock.at < until:
            for worker in self.workers:
                tick(self.world(worker))
            self.story.clock.at += step

    def down(self, seconds):
        """Nobody looks: stopped, or ended by `kill -9`; either leaves the record as it is."""
        self.story.clock.at += seconds

    @property
    def told(self):
        """What became of `NoData`, oldest first."""
        with self.story.store.read() as connection:
            return [line.kind.value for line in alerts.history(connection) if line.rule == "NoData"][::-1]

    @property
    def stands(self):
        with self.story.store.read() as connection:
            return {alert.rule: alert.state.value for alert in alerts.every(connection)}


@pytest.fixture
def cluster(story):
    found = Cluster(story)
    for _ in range(2):
        found.read()
        found.run(60)
    return found


@pytest.mark.parametrize("away", [130, 600, 5 * 86_400])
def test_nothing_is_missing_right_after_opsqueue_itself_was_away(cluster, away):
    cluster.down(away)
    cluster.run(60)
    cluster.read()
    cluster.run(120)
    assert cluster.told == []


def test_a_host_that_is_silent_while_the_system_runs_is_told_after_its_patience(cluster):
    cluster.read()
    cluster.run(PATIENCE)
    assert cluster.told == []
    cluster.run(10)
    assert cluster.told == ["firing"]
    cluster.read()
    cluster.run(10)
    assert cluster.told == ["firing", "resolved"]


def test_a_host_that_stays_silent_after_the_system_came_back_is_told_after_its_patience(cluster):
    cluster.down(1000)
    cluster.run(PATIENCE)
    assert cluster.told == []
    cluster.run(10)
    assert cluster.told == ["firing"]


def test_what_is_known_to_be_silent_is_not_over_because_the_system_was_away(cluster):
    cluster.run(PATIENCE)
    assert cluster.told == ["firing"]
    cluster.down(1000)
    cluster.run(PATIENCE + 60)
    assert cluster.told == ["firing"], "neither ended nor told anew"
    cluster.read()
    cluster.run(10)
    assert cluster.told == ["firing", "resolved"]


def test_another_worker_that_goes_on_looking_leaves_no_break(cluster):
    cluster.workers = ("worker-1", "worker-2")
    cluster.read()
    cluster.run(60)
    cluster.workers = ("worker-2",)
    cluster.run(PATIENCE - 60)
    assert cluster.told == []
    cluster.run(10)
    assert cluster.told == ["firing"]


def test_of_workers_that_come_back_together_none_finds_data_missing(cluster):
    cluster.workers = ("worker-1", "worker-2", "worker-3")
    cluster.down(300)
    cluster.run(60)
    cluster.read()
    assert cluster.told == []


def test_a_pause_of_some_seconds_is_no_break(cluster):
    cluster.read()
    for _ in range(19):
        cluster.run(1)
        cluster.down(9)
    cluster.run(1)
    assert cluster.told == ["firing"]


def test_a_look_that_takes_long_is_no_break(cluster, monkeypatch):
    """Or where there are very many alerts nothing would ever be missed."""
    tell = alert_tick._tell

    def slowly(*given):
        cluster.story.clock.at += 40
        tell(*given)

    monkeypatch.setattr(alert_tick, "_tell", slowly)
    cluster.read()
    cluster.run(PATIENCE + 90)
    assert cluster.told == ["firing"]


def test_after_the_clock_was_set_back_silence_counts_from_then(cluster):
    cluster.story.clock.at -= 86_400
    cluster.run(10)
    with cluster.story.store.read() as connection:
        assert alert_tick.alert_turn.looked_since(connection) <= cluster.story.clock.at
    cluster.read()
    cluster.run(PATIENCE + 10)
    assert cluster.told == ["firing"]


def test_a_record_of_an_older_version_knows_of_no_break(cluster):
    now = cluster.story.clock.at
    with cluster.story.store.begin() as tx:
        tx.exec_driver_sql("DELETE FROM leases WHERE name = 'alerts'")
        assert holds.take_lease(tx, "alerts", holder=f"worker-1@{now}", now=now, until=now)
    cluster.run(PATIENCE - 60 + 10)
    assert cluster.told == ["firing"]


def test_a_host_that_was_well_is_not_missed_either(story):
    cluster = Cluster(story, rule={**HIGH, "on_missing": "alert"})
    cluster.read(1)
    cluster.run(60)
    cluster.down(1000)
    cluster.run(60)
    assert cluster.told == []
    cluster.run(70)
    assert cluster.told == ["firing"], "two intervals: it stays silent"


def test_silence_that_a_rule_takes_for_good_must_be_heard_by_somebody(story):
    cluster = Cluster(story, rule={**HIGH, "on_missing": "ok"})
    cluster.read()
    cluster.run(60)
    cluster.down(1000)
    cluster.run(60)
    assert cluster.stands == {"high": "firing"}
    cluster.run(PATIENCE - 60 + 10)
    assert cluster.stands == {"high": "inactive"}


def test_with_rare_numbers_ten_minutes_are_enough(story):
    """A system that is off each night would else never miss what comes by the day."""
    cluster = Cluster(story, rule={**HIGH, "interval_s": 86_400})
    cluster.read()
    cluster.run(60)
    cluster.down(4 * 86_400)
    cluster.run(600, step=5)
    assert cluster.told == []
    cluster.run(10)
    assert cluster.told == ["firing"]
