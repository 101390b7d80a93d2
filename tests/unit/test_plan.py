"""Plans as data: the digest names exactly what would be sent."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from opsqueue.model.plan import NOTHING, Command, Plan, Result, Step, digest_of, plan_digest

ASKED = Command(argv=("id",), secrets={"PGPASSWORD": "file:/etc/opsqueue/secrets/db"})
STEP = Step(title="restart", command=Command(argv=("systemctl", "restart", "nginx"), sudo=True, env={"A": "1"}))
PLAN = Plan(steps=(STEP, Step(title="look", command=Command(argv=("true",)), ok_codes=(0, 3))), note="two steps")


def named(plan, host="h1", kind="service_restart", parameters=None):
    return plan_digest(kind, parameters or {"service": "nginx"}, [(host, plan)])


def test_a_plan_survives_the_record():
    assert Plan.from_json(json.loads(json.dumps(PLAN.as_json()))) == PLAN
    assert Plan.from_json(NOTHING.as_json()) == NOTHING
    asked = Plan(steps=(Step(title="ask", command=ASKED),))
    assert Plan.from_json(json.loads(json.dumps(asked.as_json()))) == asked
    old = asked.as_json()
    del old["steps"][0]["command"]["secrets"]  # as a plan was written before there were any
    assert Plan.from_json(old).steps[0].command == replace(ASKED, secrets={})


def test_nothing_is_false():
    assert not NOTHING
    assert not Plan(note="it is so already")
    assert PLAN


@pytest.mark.parametrize(
    "command",
    [
        {"argv": ("systemctl", "restart", "nginx ")},
        {"argv": ("systemctl", "restart nginx")},
        {"sudo": False},
        {"stdin": "x"},
        {"env": {"A": "2"}},
        {"secrets": {"P": "env:P"}},
        {"timeout": 61},
    ],
)
def test_whatever_is_sent_is_in_the_digest(command):
    other = Plan(steps=(replace(STEP, command=replace(STEP.command, **command)), PLAN.steps[1]))
    assert named(other) != named(PLAN)


def test_a_plan_without_secrets_keeps_the_digest_that_it_had_before_there_were_any():
    # What was approved before an upgrade is still approved after it.
    plan = Plan(steps=(Step(title="t", command=Command(argv=("true",))),))
    command = {"argv": ["true"], "sudo": False, "stdin": "", "env": {}, "timeout": 60}
    essence = {"type": "x", "parameters": {}, "hosts": {"h": [{"command": command, "ok_codes": [0]}]}}
    assert plan_digest("x", {}, [("h", plan)]) == digest_of(essence)


def test_order_hosts_type_and_parameters_are_in_the_digest():
    others = [
        named(Plan(steps=PLAN.steps[::-1])),
        named(Plan(steps=PLAN.steps[:1])),
        named(Plan(steps=(replace(STEP, ok_codes=(0, 1)), PLAN.steps[1]))),
        named(PLAN, host="h2"),
        named(PLAN, kind="log_rotation"),
        named(PLAN, parameters={"service": "apache"}),
        plan_digest("service_restart", {"service": "nginx"}, [("h1", PLAN), ("h2", NOTHING)]),
    ]
    assert len({named(PLAN), *others}) == len(others) + 1


def test_words_for_people_are_not_in_the_digest():
    other = Plan(steps=tuple(replace(step, title="otherwise") for step in PLAN.steps), note="otherwise")
    assert named(other) == named(PLAN)


def test_the_order_of_keys_does_not_count():
    assert digest_of({"a": 1, "b": {"c": 2, "d": 3}}) == digest_of({"b": {"d": 3, "c": 2}, "a": 1})


def test_a_digest_of_no_number_is_refused():
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            digest_of({"x": value})


def test_a_command_is_shown_so_that_it_could_be_typed():
    assert str(STEP.command) == "A=1 systemctl restart nginx"
    told = Command(argv=("psql",), env={"PGHOST": "/run a"}, secrets={"PGPASSWORD": "file:/etc/x"}, stdin="select 1")
    assert str(told) == "PGHOST='/run a' PGPASSWORD=<file:/etc/x> psql <<< 'select 1'"
    assert str(Command(argv=("echo", "a b", "$(id)", ""))) == "echo 'a b' '$(id)' ''"


def test_output_is_what_a_person_would_read():
    assert Result(exit_code=0, stdout="a\n", stderr="b\n").output == "a\nb"
    assert Result(exit_code=0, stdout=" \n", stderr="b").output == "b"
    assert Result(exit_code=0).output == ""
