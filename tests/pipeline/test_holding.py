"""Gates, coordinators, slots and locks: what holds, what denies, what lets go on, and when."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from opsqueue.model.names import Stage
from opsqueue.pipeline.advance import advance
from opsqueue.pipeline.control import add_freeze, cancel, lift_freeze
from opsqueue.store import holds

DAILY = {"maintenance_windows": {"daily": "02:00-04:00"}}
MORNING = datetime(2027, 1, 16, 2, tzinfo=UTC).timestamp()


class Says:
    """A coordinator that gives the next of its answers; an exception among them is raised."""

    def __init__(self, *answers):
        self.name, self.answers, self.seen = "says", list(answers), []

    def ask(self, kind, context):
        self.seen.append(context)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


PASSED, FAILED = {"overall_status": "PASSED"}, {"overall_status": "FAILED", "problems": ["not today"]}


def test_a_closed_window_holds_until_it_opens(story):
    story.settings |= DAILY
    operation_id = story.ask()
    shown = story.drive(operation_id)
    assert (shown["status"], shown["waits_for"]) == ("waiting", ["maintenance_window"])
    assert shown["due_at"] == "2027-01-16T02:00:00.000Z"
    assert story.step(operation_id) is None
    story.clock.at = MORNING
    assert story.drive(operation_id)["outcome"] == "succeeded"


def test_it_waits_in_one_line_of_history_however_often_it_is_looked_at(story):
    story.settings |= DAILY
    operation_id = story.ask()
    story.drive(operation_id)
    for _ in range(5):
        with story.store.begin() as tx:
            tx.exec_driver_sql(f"UPDATE operations SET due_at = {story.clock.at}")
        story.step(operation_id)
    assert story.results(operation_id) == [("verify", "passed"), ("window", "held")]


def test_a_window_that_refuses_denies_and_shows_six_stages(story):
    story.settings |= DAILY | {"window_policy": "reject"}
    shown = story.drive(story.ask())
    assert (shown["outcome"], shown["stage"]) == ("denied", "closed")
    assert [(s["stage"], s["result"]) for s in shown["stages"]] == [
        ("verify", "passed"),
        ("window", "denied"),
        ("execute", "skipped"),
        ("collect", "skipped"),
        ("analyze", "skipped"),
        ("notify", "delivered"),
    ]
    assert story.told
    assert story.machines["h1"].tally == []


def test_a_window_of_its_own_narrows_and_never_widens(story):
    story.settings |= DAILY
    open_now = story.ask(maintenance_window="00:00-24:00")
    assert story.drive(open_now)["waits_for"] == ["maintenance_window"]
    later = story.ask(maintenance_window="03:00-05:00", systems=["h2"])
    assert story.drive(later)["due_at"] == "2027-01-16T03:00:00.000Z"


def test_a_window_that_closes_in_mid_rollout_holds_the_rest(story):
    story.settings |= DAILY
    story.clock.at = MORNING
    story.machines["h1"].during["set 1"] = lambda: setattr(story.clock, "at", MORNING + 7200)
    operation_id = story.ask(systems=["h1", "h2"], timeout=9000)
    shown = story.drive(operation_id)
    assert shown["waits_for"] == ["maintenance_window"]
    assert [target["status"] for target in shown["targets"]] == ["succeeded", "pending"]
    story.clock.at = MORNING + 86_400
    assert story.drive(operation_id)["outcome"] == "succeeded"


@pytest.fixture
def long_ones(story):
    """Ask for one that takes 50 minutes on each host, so long after the opening of the n-th night; four were before."""
    story.settings |= DAILY

    def ask(night, seconds, **more):
        story.clock.at = MORNING + night * 86_400 + seconds
        for machine in story.machines.values():
            machine.value = 0
            machine.during["set 1"] = lambda: setattr(story.clock, "at", story.clock.at + 3000)
        return story.ask(timeout=20_000, **more)

    for night in range(4):
        assert story.drive(ask(night, 0))["outcome"] == "succeeded"
    return ask


def _why(shown):
    return next(verdict["why"] for verdict in shown["verdicts"] if verdict["gate"] == "maintenance_window")


def test_what_would_not_be_over_in_time_waits_for_the_next_opening(story, long_ones):
    # Nobody knows how long the fifth one takes, so it begins three minutes before the end.
    assert story.drive(long_ones(4, 7020))["outcome"] == "succeeded"
    sixth = long_ones(5, 7020)
    shown = story.drive(sixth)
    assert (shown["waits_for"], shown["due_at"]) == (["maintenance_window"], "2027-01-22T02:00:00.000Z")
    why = "h1: daily (02:00-04:00) closes 2027-01-21T04:00:00Z, and this takes up to 3000 s; next 2027-01-22T02:00:00Z"
    assert why in _why(shown)
    assert len(story.machines["h1"].tally) == 5
    story.clock.at = MORNING + 6 * 86_400
    assert story.drive(sixth)["outcome"] == "succeeded"


def test_of_a_rollout_those_hosts_begin_for_which_there_is_time(story, long_ones):
    story.drive(long_ones(4, 0))
    operation_id = long_ones(5, 0, systems=["h1", "h2", "h3"])
    shown = story.drive(operation_id)
    assert [target["status"] for target in shown["targets"]] == ["succeeded", "succeeded", "pending"]
    assert (shown["waits_for"], shown["due_at"]) == (["maintenance_window"], "2027-01-22T02:00:00.000Z")
    story.clock.at = MORNING + 6 * 86_400
    assert story.drive(operation_id)["outcome"] == "succeeded"


def test_what_takes_longer_than_the_window_begins_in_it(story, long_ones):
    story.drive(long_ones(4, 0))
    story.settings |= {"maintenance_windows": {"short": "02:00-02:45"}}
    assert story.drive(long_ones(5, 0))["outcome"] == "succeeded"
    story.settings |= {"maintenance_windows": {"free": {"spec": "02:00-04:00", "overrun": True}}}
    assert story.drive(long_ones(6, 7020))["outcome"] == "succeeded"


def test_a_refusing_window_that_closes_before_the_first_host_denies(story):
    story.settings |= DAILY | {"window_policy": "reject"}
    story.clock.at = MORNING + 7100
    operation_id = story.ask()
    story.step(operation_id)
    story.step(operation_id)
    story.clock.at = MORNING + 7200
    shown = story.drive(operation_id)
    assert (shown["outcome"], story.machines["h1"].tally) == ("denied", [])


def test_looking_passes_closed_windows_freezes_and_locks(story):
    story.settings |= DAILY
    add_freeze(story.world(), scope=("all",), reason="audit", ends_at=None, starts_at=None, actor="ann")
    with story.store.begin() as tx:
        assert holds.take(tx, "another", hosts=["h1"], limits={}, now=0)
    assert story.drive(story.ask("look_value"))["outcome"] == "succeeded"


@pytest.mark.parametrize("scope", ["all", "h1", "set_value"])
def test_a_freeze_holds_changes_until_somebody_lifts_it(story, scope):
    frozen = add_freeze(story.world(), scope=(scope,), reason="audit", ends_at=None, starts_at=None, actor="ann")
    operation_id = story.ask()
    shown = story.drive(operation_id)
    assert (shown["waits_for"], shown["due_at"], story.machines["h1"].tally) == (["freeze"], None, [])
    lift_freeze(story.world(), frozen.id, actor="bob")
    assert story.drive(operation_id)["outcome"] == "succeeded"


def test_a_freeze_with_an_end_holds_until_then(story):
    ends = story.clock.at + 300
    add_freeze(story.world(), scope=("all",), reason="audit", ends_at=ends, starts_at=None, actor="ann")
    operation_id = story.ask()
    assert story.drive(operation_id, steps=2)["waits_for"] == ["freeze"]
    assert story.drive(operation_id)["outcome"] == "succeeded"
    assert story.clock.at == ends


def test_all_reasons_are_given_at_once(story):
    story.settings |= DAILY
    add_freeze(story.world(), scope=("all",), reason="audit", ends_at=None, starts_at=None, actor="ann")
    shown = story.drive(story.ask())
    assert shown["waits_for"] == ["freeze", "maintenance_window"]


def test_one_too_many_waits_and_is_woken_when_a_slot_is_free(story):
    story.settings |= {"max_concurrent_operations": 2}
    first, second, third = (story.ask(systems=[name]) for name in ("h1", "h2", "h3"))
    for operation_id in (first, second, third):
        story.step(operation_id)
        story.step(operation_id)
    assert story.show(third)["waits_for"] == ["concurrency"]
    story.nudges.clear()
    story.drive(first)
    assert (third, Stage.WINDOW) in story.nudges
    assert story.raw(third).due_at == story.clock.at
    assert story.drive(third)["outcome"] == "succeeded"
    assert story.drive(second)["outcome"] == "succeeded"


def test_a_limit_for_one_type_leaves_the_others_alone(story):
    story.settings |= {"max_concurrent_by_type": {"set_value": 1}}
    first, second, look = story.ask(), story.ask(systems=["h2"]), story.ask("look_value", systems=["h3"])
    for operation_id in (first, second, look):
        story.step(operation_id)
        story.step(operation_id)
    assert [story.show(one)["stage"] for one in (first, second, look)] == ["execute", "window", "execute"]


def test_a_limit_that_was_lowered_does_not_lock_up_those_that_run(story):
    running = [story.ask(systems=[name]) for name in ("h1", "h2", "h3")]
    for operation_id in running:
        story.step(operation_id)
        story.step(operation_id)
    story.settings |= {"max_concurrent_operations": 1}
    assert [story.drive(one)["outcome"] for one in running] == ["succeeded"] * 3


def test_two_changes_of_one_host_go_one_after_the_other(story):
    first, second = story.ask(), story.ask(parameters={"to": 2})
    for operation_id in (first, second):
        story.step(operation_id)
        story.step(operation_id)
    shown = story.show(second)
    assert shown["waits_for"] == ["host_lock"]
    assert any(first in verdict["why"] for verdict in shown["verdicts"])
    story.drive(first)
    assert story.raw(second).due_at == story.clock.at
    assert story.drive(second)["outcome"] == "succeeded"
    assert story.machines["h1"].tally == ["set 1", "set 2"]


def test_many_workers_never_pass_the_limit_or_share_a_host(story):
    story.settings |= {"max_concurrent_operations": 3}
    asked = [story.ask(systems=[name], parameters={"to": 1 + i}) for i in range(2) for name in ("h1", "h2", "h3")]
    asked += [story.ask("look_value") for _ in range(3)]
    most, inside, lock, overlaps = [], dict.fromkeys(story.machines, 0), threading.Lock(), []

    class Watching:
        """A host that notices when two change it at once."""

        def __init__(self, host, shell):
            self.host, self.shell = host, shell

        def run(self, command, mark="", **more):
            with lock:
                inside[self.host] += 1
                overlaps.append(inside[self.host])
            with story.store.read() as connection:
                rows = connection.exec_driver_sql("SELECT count(*) FROM slots").scalar_one()
            most.append(rows)
            try:
                return self.shell.run(command, mark)
            finally:
                with lock:
                    inside[self.host] -= 1

        def __getattr__(self, name):
            return getattr(self.shell, name)

    together = threading.Barrier(4)

    def work(number):
        world = story.world(f"worker-{number}")
        connect = world.connect
        object.__setattr__(world, "connect", lambda host: Watching(host.name, connect(host)))
        together.wait()
        for operation_id in asked[number % 3 :] + asked[: number % 3]:
            advance(world, operation_id, Stage.VERIFY, go_on=True)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = [story.drive(operation_id)["outcome"] for operation_id in asked]
    assert ended == ["succeeded"] * 9
    assert max(overlaps) == 1
    assert max(most, default=0) <= 3
    with story.store.read() as connection:
        assert holds.running(connection, "") == {}


def test_a_coordinator_that_fails_it_denies(story):
    story.coordinators = (Says(FAILED),)
    shown = story.drive(story.ask())
    assert (shown["outcome"], story.machines["h1"].tally) == ("denied", [])
    assert "not today" in shown["stages"][0]["why"]
    assert len(shown["stages"]) == 6


@pytest.mark.parametrize(
    "trouble",
    [
        OSError("no route"),
        RuntimeError("a bug of theirs"),
        {},
        {"status": "PASSED"},
        None,
        ["overall_status"],
        {"overall_status": "PASSED", "problems": 7},
    ],
)
def test_a_coordinator_without_an_answer_holds_and_is_asked_again(story, trouble):
    story.coordinators = (Says(trouble, PASSED),)
    operation_id = story.ask()
    story.step(operation_id)
    shown = story.show(operation_id)
    assert (shown["stage"], shown["waits_for"]) == ("verify", ["verification"])
    assert story.raw(operation_id).due_at == story.clock.at + 30
    assert story.machines["h1"].tally == []
    assert story.drive(operation_id)["outcome"] == "succeeded"


@pytest.mark.parametrize("word", ["passed", "PASSED ", "OK", "", True, 1, "FAILED"])
def test_only_the_word_itself_passes(story, word):
    story.coordinators = (Says({"overall_status": word}),)
    shown = story.drive(story.ask())
    assert (shown["outcome"], story.machines["h1"].tally) == ("denied", [])


@pytest.mark.parametrize(
    "answer", [{"overall_status": "PASSED", "problems": None}, {"overall_status": "PASSED", "reason": None}]
)
def test_an_answer_with_nothing_beside_it_passes(story, answer):
    story.coordinators = (Says(answer),)
    assert story.drive(story.ask())["outcome"] == "succeeded"


def test_a_coordinator_is_shown_exactly_what_is_sent(story):
    witness = Says(PASSED)
    story.coordinators = (witness,)
    shown = story.drive(story.ask(parameters={"to": 2, "steps": 2}))
    (seen,) = witness.seen
    assert [step["argv"] for step in seen["plans"]["h1"]] == [["set", "1"], ["set", "2"]]
    assert seen["digest"] == shown["digest"]


def frozen_now(story):
    add_freeze(story.world(), scope=("h1",), reason="stop", ends_at=None, starts_at=None, actor="bob")


def window_over(story):
    story.clock.at = MORNING + 2 * 3600


def cancelled(story):
    operation_id = story.operation_id
    cancel(story.world(), operation_id, actor="bob", reason="not now")


@pytest.mark.parametrize(
    ("comes", "status"), [(frozen_now, "waiting"), (window_over, "waiting"), (cancelled, "cancelled")]
)
def test_what_comes_while_a_slow_host_is_asked_counts_before_the_first_command(story, comes, status):
    story.settings |= DAILY
    story.clock.at = MORNING + 60
    story.operation_id = operation_id = story.ask()
    story.machines["h1"].while_asked[2] = lambda: comes(story)  # 1: verify; 2: execute, after its gates
    assert story.drive(operation_id)["status"] == status
    assert story.machines["h1"].tally == []


def test_a_freeze_stays_in_force_though_the_clock_is_set_back(story):
    frozen_now(story)
    story.clock.at -= 3600
    assert story.drive(story.ask())["waits_for"] == ["freeze"]
    assert story.machines["h1"].tally == []
