"""Changing many hosts over SSH: a few at a time, stopped where it fails, taken up again where it was killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from fleet import SOON, Fleet
from place import SIX, closed_now, opening, stages, until
from sshkit import NEEDS_SSHD, Farm

pytestmark = [*NEEDS_SSHD, pytest.mark.xdist_group("ssh changing")]


@pytest.fixture
def make_fleet():
    farms, made = [], []

    def make(hosts, **settings):
        farms.append(Farm(hosts=hosts))
        made.append(Fleet(farms[-1], **settings))
        return made[-1]

    yield make
    for one in made:
        one.end()
    for farm in farms:
        farm.end()


def at(moment):
    return datetime.fromisoformat(moment).timestamp()


# -- a rolling restart --------------------------------------------------------------------------------------


def with_services(fleet):
    """A supervisor with a service for each host; that of the third does not come up the second time."""
    if shutil.which("supervisord") is None:
        pytest.skip("not installed: supervisord")
    where = fleet.directory
    config = where / "supervisord.conf"
    text = (
        f"[supervisord]\nnodaemon=true\nlogfile={where}/s.log\npidfile={where}/s.pid\nchildlogdir={where}\n"
        f"[unix_http_server]\nfile={where}/s.sock\n[supervisorctl]\nserverurl=unix://{where}/s.sock\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
    )
    for name, host in fleet.settings["hosts"].items():
        service = f"web-{name}"
        pid = f"echo $$ >{where}/{service}.pid\n"
        breaks = f"[ $(wc -l <{where}/{service}.starts) = 2 ] && exit 1\n" if name == "h3" else ""
        (where / f"{service}.sh").write_text(f"date +%s.%N >>{where}/{service}.starts\n{breaks}{pid}exec sleep 300\n")
        text += f"[program:{service}]\ncommand=/bin/sh {where}/{service}.sh\nstartretries=0\nautorestart=false\n"
        given = {"service_name": service, "manager": "supervisor", "supervisor_config": str(config), "sudo": False}
        host["parameters"] = {"service_restart": {**given, "settle_seconds": 1, "restart_log": False}}
    config.write_text(text)
    fleet.config.write_text(json.dumps(fleet.settings))
    fleet.start("supervisord", "-c", str(config))
    until(lambda: all(starts(fleet, name) for name in fleet.settings["hosts"]), what="the services")
    until(lambda: control(fleet, "status").count("RUNNING") == len(fleet.settings["hosts"]), what="the services")


def starts(fleet, host):
    """When the service of a host was started."""
    path = fleet.directory / f"web-{host}.starts"
    return [float(line) for line in path.read_text().split()] if path.exists() else []


class Sampler(threading.Thread):
    """Looks every 50 ms how many of the services are down at once."""

    def __init__(self, fleet):
        super().__init__(daemon=True)
        self.marks = [f"{fleet.directory}/web-{name}.pid" for name in fleet.settings["hosts"]]
        self.most, self.samples, self.over = 0, 0, threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            self.most = max(self.most, [_runs(mark) for mark in self.marks].count(False))
            self.samples += 1

    def end(self):
        self.over.set()
        self.join()


def _runs(mark):
    try:
        return psutil.pid_exists(int(Path(mark).read_text()))
    except (OSError, ValueError):
        return False


def control(fleet, *words):
    return fleet.run("supervisorctl", "-c", str(fleet.directory / "supervisord.conf"), *words).out


def test_a_rolling_restart_stops_where_the_third_of_six_breaks(make_fleet):
    fleet = make_fleet(6)
    with_services(fleet)
    rollout = ("--canary", "1", "--batch", "2", "--stop-at", "1", "--retry-count", "0")
    sampler = Sampler(fleet)
    sampler.start()
    done, data = fleet.execute("service_restart", "--parameters", "{}", *rollout)
    sampler.end()
    assert (done.code, data["outcome"], stages(data)) == (8, "partial", SIX), json.dumps(data["targets"])
    targets = {target["host"]: target for target in data["targets"]}
    states = [targets[f"h{n}"]["status"] for n in range(1, 7)]
    assert states == ["succeeded", "succeeded", "rolled_back", "skipped", "skipped", "skipped"], json.dumps(
        targets["h3"]
    )
    # The third was restarted, did not come up, and was brought up again; nobody was sent anything to the rest.
    assert [len(starts(fleet, f"h{n}")) for n in range(1, 7)] == [2, 2, 3, 1, 1, 1]
    assert [len(targets[f"h{n}"]["steps"]) for n in range(1, 7)] == [1, 1, 2, 0, 0, 0]
    assert control(fleet, "status").count("RUNNING") == 6
    assert all("h3" in targets[f"h{n}"]["problems"][0] for n in (4, 5, 6))
    # First one alone, then two at the same time, and never more of them down.
    assert sampler.samples > 20
    assert 1 <= sampler.most <= 2
    assert at(targets["h1"]["finished_at"]) <= min(starts(fleet, "h2")[1], starts(fleet, "h3")[1])
    assert starts(fleet, "h3")[1] < at(targets["h2"]["finished_at"])
    table = fleet.ops("show", data["operation_id"]).out
    assert "went wrong on h3" in table


# -- killed in the middle -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fifty():
    """Fifty hosts that tally what they are told; its workers are noticed within seconds when they die."""
    with Farm(hosts=50) as farm:
        fleet = Fleet(farm, worker=SOON).with_folders()
        try:
            yield fleet
        finally:
            fleet.end()


@pytest.mark.long
def test_a_rollout_over_fifty_hosts_goes_on_where_its_process_was_killed(fifty):
    fifty.up()
    killed = []

    def kill(asked):
        killed.append(fifty.holder(asked))
        os.kill(killed[0], signal.SIGKILL)

    data = _killed_at_the_24th(fifty, "first", kill)
    assert str(killed[0]) not in {stage["worker"].rpartition(":")[2] for stage in data["stages"][-3:]}
    fifty.kill()


def test_a_rollout_over_fifty_hosts_goes_on_where_everything_was_killed(fifty):
    fifty.up()

    def kill(_asked):
        fifty.kill()
        fifty.up()

    _killed_at_the_24th(fifty, "second", kill)
    fifty.kill()


def _killed_at_the_24th(fleet, word, kill):
    """Five at a time; killed while the command on the 24th still runs and all others of its wave have ended."""
    hold = fleet.folder("h24") / "hold"
    hold.touch()
    wanted = json.dumps({"state": word})
    asked = fleet.ask("become", "--parameters", wanted, "--batch", "5", "--retry-count", "0")
    until(lambda: _done(fleet, asked) == 24, 60, lambda: f"24 that are done: {fleet.states(asked)}")
    assert fleet.states(asked)["h24"] == "applying"
    kill(asked)
    # The command outlived whoever sent it: it is waited for, and not sent again.
    until(lambda: "looking" in _results(fleet, asked), 60, "that somebody looks")
    assert {host for host, saw in fleet.each_saw().items() if word in saw} == {f"h{n}" for n in range(1, 26)}
    hold.unlink()
    data = fleet.closed(asked)
    assert (data["outcome"], set(fleet.states(asked).values())) == ("succeeded", {"succeeded"})
    assert {host: saw.count(word) for host, saw in fleet.each_saw().items()} == {f"h{n}": 1 for n in range(1, 51)}
    return data


def _done(fleet, asked):
    return list(fleet.states(asked).values()).count("succeeded")


def _results(fleet, asked):
    return [stage["result"] for stage in fleet.now(asked)["stages"]]


def test_kills_at_any_moment_send_nothing_twice(fifty):
    """A host whose command was announced and not sent has failed, so that the rollout must be allowed to go past it."""
    wanted = json.dumps({"state": "third"})
    fifty.up()
    asked = fifty.ask("become", "--parameters", wanted, "--batch", "5", "--stop-at", "50", "--retry-count", "0")
    for least in (12, 30):
        until(lambda least=least: _told(fifty, "third") >= least, 60, lambda: f"commands: {fifty.each_saw()}")
        fifty.kill()
        fifty.up()
    data = fifty.closed(asked)
    states = fifty.states(asked)
    assert max(saw.count("third") for saw in fifty.each_saw().values()) == 1
    # At each kill at most a wave was in hand; whoever was not found as wanted was led back, and nobody else was.
    fine = {host for host, state in states.items() if state == "succeeded"}
    assert len(fine) >= 40, states
    assert set(states.values()) <= {"succeeded", "failed", "rolled_back"}
    assert {host for host in states if (fifty.folder(host) / "state").read_text() == "third\n"} == fine
    assert data["outcome"] == ("succeeded" if len(fine) == 50 else "partial")


def _told(fleet, word):
    return sum(saw.count(word) for saw in fleet.each_saw().values())


# -- windows of single hosts --------------------------------------------------------------------------------


def test_a_host_whose_own_window_is_closed_waits_and_the_others_go(make_fleet):
    fleet = make_fleet(3).with_folders()
    fleet.settings["hosts"]["h3"]["windows"] = [closed_now()]
    fleet.config.write_text(json.dumps(fleet.settings))
    fleet.up()
    opens = opening(time.time())
    asked = fleet.ask("become", "--batch", "2")
    until(lambda: fleet.now(asked)["waits_for"], 30, lambda: f"a hold: {fleet.now(asked)['stages']}")
    assert fleet.each_saw() == {"h1": ["new"], "h2": ["new"], "h3": []}
    assert fleet.states(asked) == {"h1": "succeeded", "h2": "succeeded", "h3": "pending"}
    (reason,) = fleet.ops("why", asked, "--output", "json").json["reasons"]
    assert (reason["who"], reason["verdict"], at(reason["until"])) == ("maintenance_window", "hold", opens)
    assert "h3" in reason["why"]
    assert "h1" not in reason["why"]
    one = fleet.ops("status", asked, "--output", "json").json
    assert (one["status"], one["why"]) == ("waiting", [reason])
    (listed,) = fleet.ops("status", "--output", "json").json["operations"]
    assert (listed["waits_for"], at(listed["due_at"])) == (["maintenance_window"], opens)
    assert "maintenance_window" in fleet.ops("status").out
    # Nobody else is kept from the host meanwhile, and who asked need not wait.
    done = fleet.ops("cancel", asked, "--reason", "the test is over", "--yes")
    assert done.code == 0, done.err
    data = fleet.closed(asked)
    assert (data["outcome"], fleet.saw("h3")) == ("partial", [])
