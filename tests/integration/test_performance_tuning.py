"""Tuning for real: values of a name space of its own, a machine with systemd of its own, a loop device of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from machinekit import machine_ended

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("tuning")]
HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if shutil.which(name, path=PATH) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def story(*words: str, inside: tuple[str, ...] = ("unshare", "--net")) -> None:
    """Run a story of `tuning_room.py` where it can change nothing of this machine."""
    argv = [*inside, sys.executable, str(HERE / "tuning_room.py"), *words]
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "PATH": PATH}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False, env=env)
    assert (done.returncode, done.stdout.strip()) == (0, '"well"'), f"{done.stdout}\n{done.stderr}"


@needs_root
@needs("unshare")
@pytest.mark.parametrize("name", ["kept", "refused", "worse", "guarded", "cut", "killed", "overridden", "watched"])
def test_story(name, tmp_path):
    story(name, str(tmp_path / "place"))


@needs_root
@needs("unshare", "sysbench", "fio")
@pytest.mark.parametrize("name", ["measured", "scratched"])
def test_real_benchmarks(name, tmp_path):
    story(name, str(tmp_path / "place"))


@contextmanager
def loop_device(tmp_path: Path) -> Iterator[str]:
    """A loop device of our own, over a file of ours."""
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    made = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no loop device can be had here: {made.stderr}")
    device = made.stdout.strip()
    try:
        yield Path(device).name
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@needs_root
@needs("losetup")
def test_the_scheduler_of_a_loop_device(tmp_path):
    with loop_device(tmp_path) as name:
        offered = Path(f"/sys/block/{name}/queue/scheduler")
        if not offered.exists() or len(offered.read_text().split()) == 1:
            pytest.skip("this kernel offers one scheduler for it and no more")
        story("scheduler", str(tmp_path / "place"), name, inside=())


BOOT = """
set -e
mount -t tmpfs -o size=256m none {base}; mkdir {base}/u {base}/w {base}/root
mount -t overlay overlay -o lowerdir=/,upperdir={base}/u,workdir={base}/w {base}/root
echo oqtune >{base}/root/etc/hostname; : >{base}/root/etc/machine-id
printf '[Unit]\\nRequires=basic.target\\nAfter=basic.target\\nWants=oqt.service\\n' \\
  >{base}/root/etc/systemd/system/oqt.target
printf '[Service]\\nExecStart=/bin/sleep 3000\\n' >{base}/root/etc/systemd/system/oqt.service
[ -e {base}/root{project}/pyproject.toml ] || exit 9
exec systemd-nspawn --quiet --register=no --keep-unit --bind-ro={project} -D {base}/root --machine=oqtune \\
  --boot -- systemd.unit=oqt.target
"""


def booted(process: subprocess.Popen[bytes]) -> str:
    """The first process inside, once its target is reached."""
    assert process.poll() is None, "systemd-nspawn ended; the project has to lie on the root file system"
    first = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().strip()
    ready = ["nsenter", "-t", first or "0", "-a", "systemctl", "is-active", "--quiet", "oqt.target"]
    return first if first and subprocess.run(ready, capture_output=True, check=False).returncode == 0 else ""


@needs_root
@needs("systemd-nspawn", "nsenter", "unshare")
def test_resources_of_a_unit_of_systemd():
    base = Path(tempfile.mkdtemp(prefix="oqtn"))
    text = BOOT.format(base=base, project=PROJECT)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(["unshare", "--mount", "sh", "-c", text], **quiet)
    try:
        deadline = time.monotonic() + 90
        while not (first := booted(process)):
            assert time.monotonic() < deadline, "the machine did not come up"
            time.sleep(0.1)
        story("units", "/root/oqt", inside=("nsenter", "-t", first, "-a"))
    finally:
        machine_ended(process)
        shutil.rmtree(base, ignore_errors=True)
