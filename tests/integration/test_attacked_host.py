"""Rotating logs and tuning on a host where somebody who may do little puts links and pipes in our way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from dbkit import ROOT, needs
from logkit import cycle as rotate
from logkit import nothing_begun, until
from tunekit import begun, send

pytestmark = [pytest.mark.service, needs(("setpriv", "util-linux"))]
as_root = pytest.mark.skipif(not ROOT, reason="needs root")
NOBODY = 65534
FIO = {"task": "benchmark", "benchmarks": [{"tool": "fio_randwrite", "size_mb": 1}], "benchmark_seconds": 1}


@pytest.fixture
def there():
    directory = Path(tempfile.mkdtemp(prefix="oqat"))
    try:
        directory.chmod(0o755)
        (directory / "home").mkdir()
        (directory / "everybody").mkdir()
        (directory / "everybody").chmod(0o1777)
        if ROOT:
            os.chown(directory / "home", NOBODY, NOBODY)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def somebody(*argv: object) -> None:
    who = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    subprocess.run([*who, *map(str, argv)], check=True, timeout=30)


@as_root
@needs(("fio", "fio"))
@pytest.mark.parametrize("made", ["link", pytest.param("directory", marks=pytest.mark.long)])
def test_a_benchmark_writes_to_nothing_but_its_own_file(there, made):
    victim, open_to_all = there / "victim", there / "everybody"
    victim.write_bytes(b"v" * (4 << 20))
    found, _ = begun(str(there), benchmark_dir=str(open_to_all), **FIO)
    name = open_to_all / ".opsqueue-custom.fio"
    if made == "directory":
        somebody("mkdir", name)
    somebody("ln", "-s", victim, name / "data" if made == "directory" else name)
    assert (found.objections, send(found.plan)) == ([], [])
    assert victim.read_bytes() == b"v" * (4 << 20)
    assert list(open_to_all.iterdir()) == [name]  # what is theirs stays theirs


@as_root
@pytest.mark.parametrize("where", ["home", "everybody"])
def test_the_way_back_is_not_kept_where_somebody_else_could_write_another(there, where):
    place = there / where
    found, _ = begun(str(there), task="apply", sysctl={"vm.swappiness": "10"}, state_dir=str(place / "state"))
    assert found.objections == [f"others than root and us can change {place}; give another state_dir"]


@as_root
def test_a_benchmark_is_not_made_where_somebody_else_could_put_a_link(there):
    found, _ = begun(str(there), benchmark_dir=str(there / "home"), **FIO)
    assert found.objections == [f"others than root and us can change {there / 'home'}; give another benchmark_dir"]


@as_root
def test_who_owns_the_pid_file_of_a_writer_has_no_signal_sent_to_another_process(there):
    log, pid_file = there / "logs/app.log", there / "home/app.pid"
    log.parent.mkdir()
    log.write_text("a line\n")
    with subprocess.Popen(["sleep", "300"]) as of_root:
        try:
            somebody("sh", "-c", 'echo "$1" >"$2"', "sh", of_root.pid, pid_file)
            found = rotate({"paths": [str(log)], "roots": [str(there)], "reopen": {"pid_file": str(pid_file)}})
            assert (found.objections, of_root.poll()) == ([], None)
        finally:
            of_root.kill()
    assert "not permitted" in found.problems[0]
    assert (log.read_text(), nothing_begun(log)) == ("a line\n", True)


@as_root
def test_a_writer_of_somebody_elses_is_told_with_his_rights(there):
    log, pid_file, told = there / "logs/app.log", there / "home/app.pid", there / "home/told"
    log.parent.mkdir()
    log.write_text("a line\n")
    script = 'trap "touch $1; exit" HUP; echo $$ >"$2"; while :; do sleep 0.1; done'
    # Whoever runs the tests may ignore it, and a shell cannot trap what was ignored when it began.
    heard = ("env", "--default-signal=HUP")
    who = (*heard, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    with subprocess.Popen([*who, "sh", "-c", script, "sh", str(told), str(pid_file)]) as his:
        try:
            until(lambda: pid_file.exists() and pid_file.read_text().strip(), what="the pid file")
            found = rotate({"paths": [str(log)], "roots": [str(there)], "reopen": {"pid_file": str(pid_file)}})
            assert (found.objections, found.problems) == ([], [])
            his.wait(60)
        finally:
            his.kill()
    assert told.exists()


@as_root
def test_a_pipe_in_the_place_of_a_pid_file_holds_nobody_up(there):
    log, pid_file = there / "logs/app.log", there / "home/app.pid"
    log.parent.mkdir()
    log.write_text("a line\n")
    somebody("mkfifo", pid_file)
    found = rotate({"paths": [str(log)], "roots": [str(there)], "reopen": {"pid_file": str(pid_file)}})
    assert "names no process that runs" in found.objections[0]


@pytest.mark.parametrize("moment", ["99999999T999999Z", "20260231T000000Z", "20260101T246060Z.gz"])
def test_a_file_that_is_called_after_no_moment_is_no_rotated_log(there, moment):
    log = there / "app.log"
    log.write_text("a line\n")
    odd = there / f"app.log-{moment}"
    odd.write_text("of somebody\n")
    params = {"paths": [str(log)], "roots": [str(there)], "compress": "none", "sudo": ROOT, "keep_most": 1}
    found = rotate(params)
    assert (found.objections, found.problems, odd.read_text()) == ([], [], "of somebody\n")
    assert log.read_text() == ""
