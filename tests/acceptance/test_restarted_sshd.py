"""The way to a host restarts itself: sshd of a machine with systemd of its own, asked for over that very sshd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from fleet import Fleet
from machinekit import machine_ended
from place import until
from sshkit import NEEDS_SSHD, Farm

pytestmark = [*NEEDS_SSHD, pytest.mark.xdist_group("restarted")]

# All that belongs to a session is ended with sshd: the worst that a unit file can ask for.
UNIT = """\
[Service]
ExecStart={sshd} -D -e -f /opt/oq/sshd_config -o ListenAddress={address}:{port}
RuntimeDirectory=sshd
"""
BOOT = """
set -e
mount -t tmpfs -o size=256m none {base}; mkdir {base}/u {base}/w {base}/root
mount -t overlay overlay -o lowerdir=/,upperdir={base}/u,workdir={base}/w {base}/root
echo oqssh >{base}/root/etc/hostname; : >{base}/root/etc/machine-id
mkdir -p {base}/root/opt; cp -a {farm} {base}/root/opt/oq; chmod 755 {base}/root/opt/oq
sed -i 's|{farm}|/opt/oq|g' {base}/root/opt/oq/sshd_config
printf '%s' '{unit}' >{base}/root/etc/systemd/system/ssh.service
printf '[Unit]\\nRequires=basic.target\\nAfter=basic.target\\nWants=ssh.service\\n' \\
  >{base}/root/etc/systemd/system/oq.target
exec systemd-nspawn --quiet --register=no --keep-unit -D {base}/root --machine=oqssh --boot -- systemd.unit=oq.target
"""


@pytest.fixture
def machine():
    """A fleet of one host: a machine that is reached over the sshd that its systemd runs."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("systemd-nspawn", "unshare"))):
        pytest.skip("needs root, and systemd-nspawn: install systemd-container")
    with Farm(hosts=1) as farm:
        farm.stop()  # its keys and its address are what is wanted
        base = Path(tempfile.mkdtemp(prefix="oqsd"))
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/bin")
        unit = UNIT.format(sshd=sshd, address=farm.addresses[0], port=farm.port)
        text = BOOT.format(base=base, farm=farm.folder, unit=unit)
        with (base.with_suffix(".log")).open("wb") as said:
            process = subprocess.Popen(["unshare", "--mount", "sh", "-c", text], stdout=said, stderr=said)
        fleet = Fleet(farm)
        try:
            yield fleet
        finally:
            fleet.end()
            machine_ended(process)
            shutil.rmtree(base, ignore_errors=True)
            base.with_suffix(".log").unlink()


def test_sshd_is_restarted_on_its_own_and_looked_at_over_a_new_connection(machine):
    wanted = '{"service_name": "ssh", "settle_seconds": 1}'
    asked = ("service_restart", "--parameters")
    until(lambda: machine.ops("hosts", "check", "--output", "json").code == 0, 60, "the machine")
    refused, data = machine.execute(*asked, wanted)
    assert refused.code == 3
    assert "is protected" in data["targets"][0]["problems"][0]
    done, data = machine.execute(*asked, wanted.replace("{", '{"allow_protected": true, '))
    (target,) = data["targets"]
    assert (done.code, data["status"], target["problems"]) == (0, "succeeded", []), target
    assert ["systemd-run --on-active=2" in step["command"] for step in target["steps"]].count(True) == 1
    was, now = target["before"]["service"]["unit"], target["after"]["settled"]["last"]
    assert was["identity"] != now["identity"]
    assert (was["carries_us"], now["phase"]) == (True, "up")
