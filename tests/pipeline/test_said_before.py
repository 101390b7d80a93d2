"""What a sender is told before anything is sent: plans, doubts, and what a worker with another configuration says."""

from __future__ import annotations

import pytest

from opsqueue.client import Operations
from opsqueue.errors import InvalidRequest, NotFound, OpsqueueError
from opsqueue.model.request import parse_request
from opsqueue.pipeline.assemble import assemble
from opsqueue.pipeline.submit import submit
from opsqueue.settings import load

ASK = ("--name", "n", "--type")
STATS = '{"action": "stats"}'


def test_a_plan_of_a_type_that_looks_says_what_is_asked(line):
    checks = (
        '{"checks": [{"kind": "disk", "name": "root", "path": "/"}, {"kind": "command", "name": "own", '
        '"argv": ["/etc/opsqueue/checks/own", "-v"]}, {"kind": "tcp", "name": "ssh", "host": "db", "port": 22}, '
        '{"kind": "dns", "name": "names", "query": "db.test", "resolver": "192.0.2.53", "timeout_s": 2, "retries": 2}, '
        '{"kind": "process", "name": "cron", "process": "cron"}, {"kind": "postgres", "name": "db", "host": "db", '
        '"user": "watch", "password": {"$secret": "env:CHECK_DB"}}, {"kind": "memory", "name": "memory"}]}'
    )
    said = line("plan", *ASK, "health_check", "--systems", "h1", "--parameters", checks)
    assert said.out.splitlines()[3:11] == [
        "h1",
        "asks  root: disk /, 5 s, on the host",
        "asks  own: /etc/opsqueue/checks/own -v, 8 s, on the host",
        "asks  ssh: tcp db:22, 5 s, from the worker",
        "asks  names: dns db.test at 192.0.2.53, at most 3 times 2 s, from the worker",
        "asks  cron: process name cron, 5 s, on the host",
        "asks  db: postgres db:5432 as watch with password <env:CHECK_DB>, 5 s, from the worker",
        "asks  system: memory, 30 s, on the host",
    ]
    assert "asks  system: host, cpu" in line("plan", *ASK, "system_monitoring", "--systems", "h1").out


def test_a_plan_of_a_look_says_what_goes_to_the_host_and_shows_the_text_once(line):
    far = {"connector": "ssh", "address": "127.0.0.1", "port": 1}
    line.set(hosts={"f-1": far, "f-2": far, "here": {"connector": "local"}, "own": {"connector": "worker"}})
    said = line("plan", *ASK, "system_monitoring", "--systems", "all").out
    assert said.count("sends script 1 over ssh, ") == 2
    assert said.count("\nscript 1\n") == 1
    assert "  grep -s '' [0-9]*/stat /dev/null | cut -d' ' -f1-30\n" in said
    assert "sends nothing over the network: it is the worker's own machine" in said
    assert "sends the id of the operation, to the host's own worker" in said
    assert said.count("keeps a series for each number; nothing was measured here lately") == 4
    probe = '{"checks": [{"kind": "tcp", "name": "ssh", "host": "db", "port": 22}]}'
    asked = line("plan", *ASK, "health_check", "--systems", "f-1", "--parameters", probe).out
    assert "sends nothing: all of it is asked from the worker" in asked
    assert "sends one text over ssh" in line("plan", *ASK, "health_check", "--systems", "f-1").out
    assert "sends" not in line("plan", *ASK, "alert_management", "--systems", "f-1", "--parameters", STATS).out


def test_a_plan_of_a_host_that_is_down_calls_it_unreachable(line):
    line.set(hosts={"w-1": {"connector": "worker"}})
    restart = ("service_restart", "--systems", "w-1", "--parameters", '{"service_name": "nginx"}')
    said = line("plan", *ASK, *restart)
    assert said.status != 0
    assert "\nw-1\nunreachable  reached by its own worker only" in said.out
    assert "failed  " not in said.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--canary", "9"), ""),
        (("--batch", "2", "--stop-at", "50%"), "batch, stop_at: without effect, because health_check changes nothing"),
        ((), ""),
    ],
)
def test_a_rollout_of_what_changes_nothing_is_doubted(line, words, says):
    said = line("plan", *ASK, "health_check", "--systems", "all", *words, "--output", "json")
    assert said.status == 0
    assert says in said.err
    assert bool(said.json["doubts"]) is bool(words)


def test_a_canary_of_all_hosts_is_doubted(line):
    line.set(hosts={name: {"connector": "worker"} for name in ("w-1", "w-2")})
    restart = ("service_restart", "--systems", "all", "--parameters", '{"service_name": "nginx"}')
    assert "canary 9: that is all of 2 hosts" in line("plan", *ASK, *restart, "--canary", "9").err
    assert line("plan", *ASK, *restart, "--canary", "1").err == ""


@pytest.mark.parametrize("option", ["--batch", "--stop-at"])
@pytest.mark.parametrize("text", ["0", "120%", "two", "-1%"])
def test_a_share_that_is_none_is_refused_with_its_option_and_what_was_found(line, option, text):
    said = line("plan", *ASK, "health_check", "--systems", "h1", f"{option}={text}")
    assert said.status == 2
    assert f"argument {option}: wanted a number of hosts from 1 on" in said.err
    assert f"found {text!r}" in said.err
    with pytest.raises(InvalidRequest, match=r"rollout.batch: wanted a number .*; found"):
        parse_request({"name": "n", "type": "t", "target_systems": ["h"], "rollout": {"batch": text}})


class Intake:
    """What the intake of a worker with its own configuration answers; only the broker between is left out."""

    def __init__(self, settings):
        self.world = assemble(settings, dispatch=lambda _operation: None, worker="old")

    def submit(self, request, _seconds):
        try:
            return {"accepted": True, "operation_id": submit(self.world, request).id}
        except OpsqueueError as error:
            return {"accepted": False, "error": error.as_json()}


def test_a_worker_that_read_another_configuration_is_named_as_the_cause(line):
    line.set(broker_url="redis://nobody.invalid/0")
    intake = Intake(load(str(line.config)))
    line.set(hosts={"h1": {"connector": "local"}, "win-1": {"connector": "local"}})
    operations = Operations(load(str(line.config)))
    operations.__dict__["_sender"] = intake
    asked = {"name": "n", "type": "health_check"}
    with pytest.raises(NotFound) as refused:
        operations.submit({**asked, "target_systems": ["win-1"]})
    assert "the running worker refuses it: there is no host, group or tag 'win-1'" in refused.value.message
    assert "read it at its start" in refused.value.message
    with pytest.raises(NotFound) as unknown:
        operations.submit({**asked, "target_systems": ["win-2"]})
    assert "running worker" not in unknown.value.message
    assert operations.submit({**asked, "target_systems": ["h1"]})
