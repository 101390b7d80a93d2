"""Who listens, in a network of its own: what is cut is said, and what a program only sends from is no finding."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import pytest

from opsqueue.facts.security_shapes import SETTINGS
from opsqueue.facts.shape import shaped
from opsqueue.model.kind import Analysis, Finding, Seen
from opsqueue.operations.security_scan import OPERATION

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and util-linux"),
]
# `opened` is what another process holds; `sleep` is what the program does while it waits for its second look.
INSIDE = """
import json, socket, subprocess, sys
from opsqueue.facts.on_host import settings_host as host
def udp(port, address="0.0.0.0"):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((address, port))
    return one
def held(*ports):
    text = "import socket, sys; all = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in sys.argv[1:]]\\n"
    text += "for one, port in zip(all, sys.argv[1:]): one.bind(('0.0.0.0', int(port)))\\n"
    text += "print('up', flush=True); sys.stdin.read()"
    one = subprocess.Popen([sys.executable, "-c", text, *map(str, ports)], stdin=-1, stdout=-1)
    assert one.stdout.readline() == b"up\\n"
    others.append(one)
others = []
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
host.time.sleep = lambda _seconds: None
try:
    exec(sys.argv[1])
    print(json.dumps(host.listening({})))
finally:
    for one in others:
        one.communicate()
"""


def _listening(text: str) -> Any:
    argv = ["unshare", "--net", sys.executable, "-c", INSIDE, text]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return shaped(json.loads(done.stdout), SETTINGS["listening"])


def _analysed(answer: Any, earlier: Any = None, **more: Any) -> Analysis:
    params = OPERATION.params.model_validate({"checks": ["configuration"], "allowed_ports": [22], **more})
    before = None if earlier is None else tuple(asdict(one) for one in earlier)
    facts = {"settings": {"listening": answer}}
    seen = Seen(host="h", before={}, after=facts, metrics={}, earlier={}, thresholds={}, at=1.8e9,
                earlier_findings=before)  # fmt: skip
    return OPERATION.analyse(params, seen)


def _scan(answer: Any, earlier: Any = None, **more: Any) -> tuple[Finding, ...]:
    """What it comes to; the other settings were not answered, and are of no matter here."""
    found = _analysed(answer, earlier, **more).findings
    part = "settings.listening"
    return tuple(one for one in found if part in (one.evidence.get("part"), one.evidence.get("subject")))


def _states(found: tuple[Finding, ...]) -> dict[str, str]:
    return {one.evidence["subject"]: one.evidence["status"] for one in found if one.code != "scan_incomplete"}


def test_a_port_that_the_kernel_gave_out_is_no_name_of_a_finding() -> None:
    first = _scan(_listening("held(0, 0)\nkept = udp(1053)"))
    (given,) = (one for one in first if one.evidence["subject"].startswith("udp/given"))
    assert (given.evidence["number"], given.severity.value) == (2, "info")
    assert given.evidence["program"].startswith("python")
    assert all(str(port) in given.message for port in given.evidence["ports"])
    second = _scan(_listening("held(0)\nkept = udp(1053)"), first)
    assert set(_states(second).values()) == {"standing"}
    assert _states(_scan(_listening("kept = udp(1053)"), second))[given.evidence["subject"]] == "fixed"


def test_what_a_server_sends_from_is_not_told() -> None:
    """A resolver has a port of its own, and asks others from ports that it was given."""
    answer = _listening("server, one, two = udp(53), udp(0), udp(0)")
    assert (answer["passing"], list(_states(_scan(answer)))) == (2, ["udp/53"])
    inside = _listening("server, one = udp(53, '127.0.0.1'), udp(0)")
    assert (inside["passing"], inside["sockets"]) == (1, [])


def test_what_is_gone_at_the_second_look_is_not_told() -> None:
    """A client of NTP waits for one answer."""
    answer = _listening("client = udp(0)\nhost.time.sleep = lambda _seconds: client.close()\nheld(40000)")
    assert [one["port"] for one in answer["sockets"]] == [40000]
    assert answer["passing"] == 1


def test_a_named_port_in_that_range_may_be_allowed() -> None:
    answer = _listening("held(51820)")
    assert _scan(answer, allowed_ports=[51820]) == ()
    assert [one.evidence["ports"] for one in _scan(answer)] == [[51820]]


def test_what_is_cut_is_said_and_not_fixed() -> None:
    many = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n"
    first = _scan(_listening("kept = [udp(port) for port in range(3000, 3010)]"))
    assert set(_states(first).values()) == {"new"}
    answer = _listening(f"{many}kept = [udp(port) for port in range(2000, 3010)]")
    assert (len(answer["sockets"]), answer["left_out"]) == (500, 510)
    second = _analysed(answer, first)
    told = "\n".join(one.message for one in second.findings if one.code == "scan_incomplete")
    assert "settings.listening: told only in part: 510 more sockets" in told
    numbers = {one.name: one.value for one in second.metrics}
    assert (numbers["findings_unverified"], numbers["findings_fixed"]) == (10, 0)
    assert "fixed" not in _states(_scan(answer, first)).values()
    assert _states(_scan({**answer, "sockets": []}, first)) == dict.fromkeys(_states(first), "unverified")


def test_sockets_of_the_inside_crowd_out_none_that_others_reach() -> None:
    text = "kept = [udp(port, f'127.0.0.{host}') for port in (53, 54) for host in range(2, 5)] + [udp(30000)]\n"
    many = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n"
    many += "subprocess.run(['ip', 'addr', 'add', '10.9.8.7/24', 'dev', 'lo'], check=True)\n"
    answer = _listening(f"{many}{text}kept += [udp(port, '10.9.8.7') for port in range(2000, 2600)]")
    assert answer["sockets"][0]["port"] == 30000
    assert answer["left_out"] == 101
    assert [one.code for one in _scan(answer)] == ["listening_everywhere"]
