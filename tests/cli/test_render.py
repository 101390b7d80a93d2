"""What people read, to the letter."""

from __future__ import annotations

import pty
import sys
from contextlib import ExitStack

import pytest

from opsqueue.cli import render, render_hosts
from opsqueue.cli.confirm import allowed
from opsqueue.cli.follow import Follower
from opsqueue.cli.output import Out
from opsqueue.errors import ConfirmationNeeded
from opsqueue.model.names import Risk

PLAN = {
    "name": "restart-nginx",
    "type": "service_restart",
    "priority": "high",
    "parameters": {},
    "risk": "reversible",
    "digest": "ab12",
    "rollout": {},
    "targets": [
        {
            "host": "web-1",
            "reachable": True,
            "problems": [],
            "note": "",
            "asks": [],
            "steps": [{"title": "restart nginx", "command": "systemctl restart nginx", "timeout": 60}],
        },
        {"host": "web-2", "reachable": True, "problems": [], "note": "it is up already", "asks": [], "steps": []},
        {
            "host": "web-3",
            "reachable": True,
            "problems": ["no such service: nginx"],
            "note": "",
            "asks": [],
            "steps": [],
        },
        {"host": "web-4", "reachable": False, "problems": ["no route"], "note": "", "asks": [], "steps": []},
        {
            "host": "web-5",
            "reachable": True,
            "problems": [],
            "note": "",
            "steps": [],
            "asks": ["root: /, on the host", "site: http http://web-5/, from the worker"],
        },
    ],
    "verdicts": [
        {"gate": "freeze", "verdict": "pass", "why": "no freeze covers it", "until": None},
        {"gate": "maintenance_window", "verdict": "hold", "why": "closed now", "until": "2020-01-01T02:00:00.000Z"},
    ],
}


def test_a_plan_of_a_look_names_some_numbers_of_the_last_one(capsys):
    metrics = {f"m{number}": {"value": 1.5 * number, "unit": "percent"} for number in range(7)}
    metrics["disk_usage:/"] = {"value": 9.0, "unit": "percent"}
    target = {
        "host": "h1", "reachable": True, "problems": [], "note": "", "steps": [], "asks": ["system: cpu, on the host"],
        "connector": "worker", "on_host": True, "script": "", "answer_bytes": None, "series": sorted(metrics),
        "last": {"at": "2026-01-02T03:04:05.000Z", "metrics": metrics},
    }  # fmt: skip
    render.plan(Out(), PLAN | {"targets": [target]})
    said = capsys.readouterr().out
    numbers = "m0 0.0 %, m1 1.5 %, m2 3.0 %, m3 4.5 %, m4 6.0 % and 3 others"
    assert f"keeps 8 series; at the last look, 2026-01-02T03:04:05.000Z: {numbers}" in said


def test_a_plan(capsys):
    render.plan(Out(), PLAN)
    assert (
        capsys.readouterr().out
        == """\
restart-nginx: service_restart, risk reversible, priority high
digest ab12

web-1
$ systemctl restart nginx    # restart nginx

web-2
it is up already

web-3
failed  no such service: nginx

web-4
unreachable  no route

web-5
asks  root: /, on the host
asks  site: http http://web-5/, from the worker

gates
GATE                VERDICT  UNTIL                 WHY
freeze              pass                           no freeze covers it
maintenance_window  hold     2020-01-01 02:00:00Z  closed now
"""
    )


def test_what_stands_against_a_plan_on_several_hosts_is_said_once(capsys):
    bad = [
        {"host": f"web-{n}", "reachable": False, "problems": [_down(n)], "note": "", "asks": [], "steps": []}
        for n in range(1, 6)
    ]
    render.plan(Out(), {**PLAN, "targets": [*bad, PLAN["targets"][1]], "verdicts": []})
    assert capsys.readouterr().out.splitlines()[2:] == [
        "",
        "web-2",
        "it is up already",
        "",
        "problems",
        f"unreachable  web-1 … web-5 (5 hosts): {_down(1).removeprefix('web-1 (10.0.0.1:22) ')}",
    ]


OPERATION = {
    "operation_id": "6f1c2d1e-0000-4000-8000-000000000000",
    "name": "restart-nginx",
    "type": "service_restart",
    "priority": "high",
    "description": "",
    "parameters": {"service_name": "nginx"},
    "status": "partial",
    "outcome": "partial",
    "requested_by": "ann@desk",
    "reason": "slow\x1b[2J",
    "digest": "ab12",
    "rollout": {},
    "created_at": "2020-01-01T02:00:00.000Z",
    "finished_at": "2020-01-01T02:00:09.500Z",
    "stages": [
        {
            "stage": "execute", "result": "partial", "why": "1 succeeded, 1 failed", "worker": "w",
            "started_at": "2020-01-01T02:00:01.000Z", "finished_at": "2020-01-01T02:00:09.000Z", "seconds": 8.0,
        }
    ],
    "verdicts": [],
    "targets": [
        {
            "host": "web-1", "status": "succeeded", "changed": True, "problems": [],
            "verified_at": "2020-01-01T02:00:08.000Z",
            "steps": [
                {"title": "restart", "command": "systemctl restart nginx", "exit_code": 0, "seconds": 1.5, "output": ""}
            ],
        },
        {
            "host": "web-2", "status": "failed", "changed": True, "problems": ["it is down", "twice"],
            "verified_at": None,
            "steps": [
                {
                    "title": "restart", "command": "systemctl restart nginx",
                    "exit_code": None, "seconds": None, "output": "a\n\x1b]0;b",
                }
            ],
        },
    ],
    "metrics": {"web-1": {"memory_usage": {"value": 12.34, "unit": "percent"}, "up": {"value": None, "unit": "state"}}},
    "health_score": 79.5,
    "findings": [
        {
            "severity": "critical", "code": "down", "host": "web-2", "message": "nginx is down",
            "evidence": {}, "advice": "Look at it.",
        }
    ],
    "notifications": [
        {
            "channel": "log", "status": "accepted", "attempts": 1, "at": "2020-01-01T02:00:09.000Z",
            "error": "instead of slack",
        }
    ],
    "stage": "closed",
    "systems": ["web-1", "web-2"],
    "waits_for": [],
    "due_at": None,
}  # fmt: skip


def test_an_operation(capsys):
    render.operation(Out(), OPERATION)
    assert (
        capsys.readouterr().out
        == """\
operation    6f1c2d1e-0000-4000-8000-000000000000
name         restart-nginx
type         service_restart
priority     high
status       partial
systems      web-1, web-2
parameters   service_name="nginx"
asked by     ann@desk
reason       slow\\x1b[2J
created      2020-01-01 02:00:00Z
ended        2020-01-01 02:00:09Z
health       79.5 of 100 (1 of 2 hosts)
digest       ab12

stages
STAGE    RESULT   TOOK    BEGAN                 WHY
execute  partial  8.00 s  2020-01-01 02:00:01Z  1 succeeded, 1 failed

hosts
HOST   STATUS     CHANGED  COMMANDS  PROBLEMS
web-2  failed     yes      1         it is down; twice
web-1  succeeded  yes      1

commands on web-1
$ systemctl restart nginx    # restart: exit code 0, 1.50 s

commands on web-2
$ systemctl restart nginx    # restart: exit code not known
  a
  \\x1b]0;b

metrics
METRIC        web-1
memory_usage  12.3 %
up            –
– not there, or not known; opsqueue show 6f1c2d1e --output json tells why

findings
critical  web-2: nginx is down  [down]
    Look at it.

notifications
CHANNEL  STATUS    TRIES  AT                    WHY
log      accepted  1      2020-01-01 02:00:09Z  instead of slack
"""  # noqa: RUF001 - the dash of what is not known
    )


def test_metrics_of_many_hosts_are_a_line_each(capsys):
    render.metrics(Out(), {f"h{n}": {"up": {"value": n, "unit": "state"}} for n in range(5)})
    assert capsys.readouterr().out.splitlines()[1:4] == ["metrics", "HOST  METRIC  VALUE", "h0    up      0"]


def test_following_a_stage_that_looks_again_and_again_says_it_once():
    said = []
    stage = {"stage": "window", "result": "held", "why": "h1 is busy", "seconds": 0.0}
    data = {**OPERATION, "stages": [stage] * 5}
    Follower(said.append)(data)
    assert said == ["window   …  0.00 s  held: h1 is busy"]


@pytest.mark.parametrize(
    ("result", "why", "line"),
    [
        ("passed", "1 host", "verify   ✓  0.02 s  1 host"),
        ("passed", "", "verify   ✓  0.02 s"),
        ("skipped", "skipped", "verify   -  0.02 s  skipped"),
        ("denied", "evil\x1b[2J", "verify   ✗  0.02 s  denied: evil\\x1b[2J"),
        ("something new", "x", "verify   ·  0.02 s  something new: x"),
    ],
)
def test_a_stage_is_one_line(result, why, line):
    assert Follower(print).line({"stage": "verify", "result": result, "why": why, "seconds": 0.02}) == line


def test_what_destroys_is_refused_without_a_terminal_and_without_yes():
    with pytest.raises(ConfirmationNeeded, match="say --yes"):
        allowed("Do it?", yes=False, risk=Risk.DESTRUCTIVE)
    allowed("Do it?", yes=True, risk=Risk.DESTRUCTIVE)
    allowed("Do it?", yes=False, risk=Risk.REVERSIBLE)


@pytest.mark.parametrize(("answer", "goes_on"), [("y", True), ("YES", True), ("n", False), ("", False)])
def test_at_a_terminal_it_asks(monkeypatch, answer, goes_on):
    ours, theirs = pty.openpty()
    with ExitStack() as stack:
        keys = stack.enter_context(open(ours, "wb", buffering=0))  # noqa: PTH123 - a descriptor
        terminal = stack.enter_context(open(theirs, encoding="utf-8"))  # noqa: PTH123 - likewise
        screen = stack.enter_context(open(theirs, "w", encoding="utf-8", closefd=False))
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(sys, "stderr", screen)
        keys.write(f"{answer}\n".encode())
        if goes_on:
            allowed("Do it?", yes=False, risk=Risk.DESTRUCTIVE)
        else:
            with pytest.raises(ConfirmationNeeded, match="nothing was done"):
                allowed("Do it?", yes=False)


def test_the_state_of_a_check_is_a_word_and_the_rest_of_that_unit_a_number(capsys):
    named = {f"state:{name}": {"value": n, "unit": "state"} for n, name in enumerate("abcd")}
    render.metrics(Out(), {"h": {**named, "state:e": {"value": None, "unit": "state"}, "up": {"value": 1, "unit": ""}}})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[3:]]
    words = ["ok", "warning", "critical", "unknown", render.UNKNOWN, "1"]
    assert [line[1] for line in lines[:-1]] == words
    assert lines[-1][:3] == [render.UNKNOWN, "not", "there,"]


def test_what_counts_as_down_is_a_word_and_a_moment_a_time(capsys):
    named = {
        "hard:a": {"value": 1, "unit": "state"},
        "hard:b": {"value": 0.0, "unit": "state"},
        "failing_since:a": {"value": 1_800_000_000.5, "unit": "UNIX time"},
    }
    render.metrics(Out(), {"h": named})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[3:]]
    assert [line[1] for line in lines] == ["down", "up", "2027-01-15T08:00:00Z"]


def test_no_footnote_where_everything_is_known(capsys):
    render.metrics(Out(), {"h": {"up": {"value": 1, "unit": "state"}}})
    assert capsys.readouterr().out == "\nmetrics\nMETRIC  h\nup      1\n"


@pytest.mark.parametrize("width", [80, 60, 40])
def test_metrics_of_hosts_that_do_not_fit_beside_each_other_are_a_line_each(capsys, width):
    hosts = [f"database-server-{n}" for n in range(4)]
    render.metrics(Out(terminal=True, width=width), {host: {"up": {"value": 1, "unit": "state"}} for host in hosts})
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["HOST", *hosts]
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [80, 60, 40])
def test_why_a_gate_holds_stands_whole_beneath_its_row(capsys, width):
    until = "2020-01-01T02:00:00.000Z"
    render.verdicts(
        Out(terminal=True, width=width),
        [{"gate": "maintenance_window", "verdict": "hold", "why": "web-1 is closed now " * 4, "until": until}],
    )
    lines = capsys.readouterr().out.splitlines()[2:]
    assert max(map(len, lines)) <= width
    assert "web-1 is closed now " * 3 in " ".join(" ".join(lines).split())


# -- many hosts ---------------------------------------------------------------------------------------------


def _target(host, status="succeeded", *problems):
    done = "2020-01-01T02:00:08.000Z" if status == "succeeded" else None
    return {"host": host, "status": status, "changed": False, "problems": problems, "steps": [], "verified_at": done}


def _down(n):
    return f"web-{n} (10.0.0.{n}:22) refused the connection: is sshd running, and is that its port?"


def _finding(host, message, severity="warning", code="unreachable", advice="Look at it: `opsqueue hosts check`."):
    return {"severity": severity, "code": code, "host": host, "message": message, "evidence": {}, "advice": advice}


def test_problems_that_hosts_have_in_common_are_said_once_beneath_the_table_and_what_failed_stands_first(capsys):
    render_hosts.targets(Out(), [_target("db-1"), *(_target(f"web-{n}", "unreachable", _down(n)) for n in range(1, 6))])
    assert (
        capsys.readouterr().out
        == """
hosts
HOST   STATUS       CHANGED  COMMANDS
web-1  unreachable  no       0
web-2  unreachable  no       0
web-3  unreachable  no       0
web-4  unreachable  no       0
web-5  unreachable  no       0
db-1   succeeded    no       0

problems
web-1 … web-5 (5 hosts): refused the connection: is sshd running, and is that its port?
"""
    )


def test_what_a_finding_says_is_not_said_beside_the_host_as_well(capsys):
    given = [_target("web-1", "unreachable", _down(1), "twice")]
    render_hosts.targets(Out(), given, [_finding("web-1", _down(1))])
    assert capsys.readouterr().out.splitlines()[-1] == "web-1  unreachable  no       0         twice"
    render_hosts.targets(Out(), given)
    assert "10.0.0.1:22 refused the connection" in capsys.readouterr().out


def test_findings_name_their_host_and_equal_ones_stand_together(capsys):
    render_hosts.findings(
        Out(),
        [
            *(_finding(f"web-{n}", _down(n), advice=f"`opsqueue hosts check web-{n}`") for n in range(1, 6)),
            _finding("db-1", "the same words", code="other", advice=""),
            _finding("db-2", "the same words", severity="info", code="other", advice=""),
            _finding("", "it took long", code="slow", advice=""),
        ],
    )
    assert capsys.readouterr().out.splitlines()[2:] == [
        f"warning  web-1 … web-5 (5 hosts): {_down(1).removeprefix('web-1 (10.0.0.1:22) ')}  [unreachable]",
        "    `opsqueue hosts check web-1 web-2 web-3 web-4 web-5`",
        "warning  db-1: the same words  [other]",
        "warning  it took long  [slow]",
        "info  db-2: the same words  [other]",
    ]


def _scanned(number, severity, status, host="web-1"):
    one = _finding(host, f"file {number} is open", severity, "file_open", "Close it.")
    return {**one, "evidence": {"status": status}}


def _told_of(capsys, given):
    render_hosts.findings(Out(), given, "6f1c2d1e")
    return [line for line in capsys.readouterr().out.splitlines()[2:] if not line.startswith("    ")]


def test_findings_say_whether_they_are_new_and_what_is_new_and_worst_stands_first(capsys):
    given = [
        _scanned(1, "critical", "standing"),
        _scanned(2, "info", "new"),
        _scanned(3, "info", "fixed"),
        _scanned(4, "warning", "unverified"),
        _scanned(5, "critical", "new"),
        _scanned(5, "critical", "standing", "web-2"),
        _scanned(6, "warning", 500),
    ]
    assert _told_of(capsys, given) == [
        "critical  new  web-1: file 5 is open  [file_open]",
        "info  new  web-1: file 2 is open  [file_open]",
        "critical  standing  web-1: file 1 is open  [file_open]",
        "critical  standing  web-2: file 5 is open  [file_open]",
        "warning  unverified  web-1: file 4 is open  [file_open]",
        "warning  web-1: file 6 is open  [file_open]",
        "info  web-1: file 3 is open  [file_open]",
    ]


@pytest.mark.parametrize(
    ("new", "standing", "shown", "last"),
    [
        (10, 20, (10, 20), None),
        (30, 0, (30, 0), None),
        (1, 500, (1, 29), "471 more findings (471 warning): `opsqueue report 6f1c2d1e`"),
        (31, 0, (30, 0), "1 more finding (1 critical, 1 of them new): `opsqueue report 6f1c2d1e`"),
        (40, 500, (20, 10), "510 more findings (20 critical, 490 warning, 20 of them new): `opsqueue report 6f1c2d1e`"),
        (40, 5, (25, 5), "15 more findings (15 critical, 15 of them new): `opsqueue report 6f1c2d1e`"),
    ],
)
def test_of_many_findings_the_first_are_shown_and_where_the_others_are(capsys, new, standing, shown, last):
    given = [_scanned(n, "warning", "standing") for n in range(standing)]
    given += [_scanned(n, "critical", "new") for n in range(new)]
    lines = _told_of(capsys, given)
    assert (sum("  new  " in one for one in lines), sum("  standing  " in one for one in lines)) == shown
    assert lines[sum(shown) :] == [last] * (last is not None)


def test_findings_that_are_not_shown_are_counted_by_host(capsys):
    given = [_scanned(n, "info", "standing", f"web-{host}") for n in range(31) for host in (1, 2)]
    assert _told_of(capsys, given)[-1] == "2 more findings (2 info): `opsqueue report 6f1c2d1e`"


@pytest.mark.parametrize("printed", [render.operation, render.result])
def test_where_all_findings_are_is_said_with_the_id(capsys, printed):
    printed(Out(), {**OPERATION, "findings": [_scanned(n, "info", "new") for n in range(40)]})
    assert "10 more findings (10 info, 10 of them new): `opsqueue report 6f1c2d1e`" in capsys.readouterr().out


def _ended(number, **metrics):
    named = {name: {"value": value, "unit": "percent"} for name, value in metrics.items()}
    hosts = [f"web-{n}" for n in range(1, number + 1)]
    return {
        **OPERATION,
        "targets": [_target(host) for host in hosts],
        "metrics": dict.fromkeys(hosts, named),
        "findings": [],
        "notifications": [],
    }


def test_the_result_on_many_hosts_has_few_numbers_and_says_where_all_are(capsys):
    render.result(Out(), _ended(5, cpu_usage=1, memory_usage=2, swap_usage=3))
    assert capsys.readouterr().out.splitlines()[2:4] == [
        "HOST   STATUS     CHANGED  COMMANDS  CPU    MEMORY  DISK  PROBLEMS",
        "web-1  succeeded  no       0         1.0 %  2.0 %",
    ]
    render.result(Out(), _ended(5, latency=4))
    said = capsys.readouterr().out
    assert "CPU" not in said
    assert said.splitlines()[-1] == "all metrics of 5 hosts: `opsqueue show 6f1c2d1e`"
    render.operation(Out(), _ended(5, latency=4))
    assert "web-5  latency  4.0 %" in capsys.readouterr().out


def test_the_result_on_a_few_hosts_has_all_numbers(capsys):
    render.result(Out(), _ended(2, swap_usage=3))
    assert "METRIC      web-1  web-2" in capsys.readouterr().out
    render.result(Out(), {**_ended(1), "metrics": {}})
    assert "metrics" not in capsys.readouterr().out


def test_a_score_says_of_how_many_hosts_it_is():
    data = {"health_score": 100.0, "targets": [_target(f"h{n}") for n in range(4)]}
    assert render_hosts.score(data) == "100"
    data["targets"].append(_target("h5", "unreachable"))
    assert render_hosts.score(data) == "100 (4 of 5 hosts)"
    assert render_hosts.score({**data, "health_score": None}) == ""


@pytest.mark.parametrize(
    ("rollout", "total", "words"),
    [
        ({}, 9, ""),
        ({"batch": 1}, 1, ""),
        ({"batch": 1}, 5, "one at a time; 1 failed host stops the rest"),
        ({"batch": "50%", "canary": 1, "stop_at": 2}, 5,
         "1 first, the others only if that goes well: 3 at a time; 2 failed hosts stop the rest"),
        ({"batch": "100%", "canary": 5}, 5, "all at once; 1 failed host stops the rest"),
        ({"batch": 50}, 5, "all at once; 1 failed host stops the rest"),
    ],
)  # fmt: skip
def test_how_an_operation_goes_over_its_hosts_is_told_in_words(rollout, total, words):
    assert render.waves(rollout, total) == words


def test_what_a_plan_comes_to_stands_before_its_commands(capsys):
    first = {**PLAN["targets"][0], "note": "restart nginx, and php-fpm with it"}
    render.plan(Out(), {**PLAN, "targets": [first]})
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("web-1") + 1 :][:2] == [first["note"], "$ systemctl restart nginx    # restart nginx"]


@pytest.mark.parametrize(
    ("value", "said"), [(13330, "13330"), (1234567, "1234567"), (999, "999"), (0.23161, "0.2316"), (-2500.4, "-2500")]
)
def test_a_count_is_never_shortened_to_a_power_of_ten(value, said):
    assert render.number(value, "count") == said


def test_a_finding_shows_how_the_log_ends_that_it_brings_along(capsys):
    log = ["", *(f"line {n}" for n in range(7)), "\x1b[2Jno config", ""]
    finding = {**_finding("web-1", "nginx crashes", "critical", "crash_loop"), "evidence": {"log": log}}
    render_hosts.findings(Out(), [finding])
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("    | ")] == [
        *(f"    | line {n}" for n in range(3, 7)),
        "    | \\x1b[2Jno config",
    ]
