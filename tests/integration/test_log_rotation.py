"""Real logs with real writers: no line is lost, nothing is half done, and what is said is true."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from logkit import (
    aged,
    begun,
    cycle,
    generations,
    lines,
    look,
    nothing_begun,
    snapshot,
    unpacked,
    until,
    writer,
)

from opsqueue.connectors.local import LocalShell, wrapped
from opsqueue.operations.log_rotation import OPERATION

pytestmark = pytest.mark.service
HERE = Path(__file__).parent


def _cuts(path: Path) -> bool:
    """Whether the front of a file can be cut off there."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(path)], capture_output=True, text=True, check=True).stdout
    return kind.strip() in {"ext2/ext3", "xfs"}


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def log(tmp_path):
    """In a directory whose way is safe for root."""
    tmp_path.chmod(0o755)
    return tmp_path / "app.log"


@pytest.fixture
def cuts(tmp_path):
    if not _cuts(tmp_path):
        pytest.skip("the file system of the test cannot cut the front off a file: it is neither ext4 nor xfs")


@pytest.fixture
def open_place():
    """A directory that other users can reach; the one of pytest is its user's alone."""
    with tempfile.TemporaryDirectory(prefix="oql") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def asked(log, **more):
    """Parameters for one log and its writer."""
    reopen = {} if more.get("method") == "copytruncate" else {"reopen": {"pid_file": f"{log}.pid"}}
    return {"paths": [str(log)], "roots": [str(log.parent)], **reopen, **more}


def grown(log, by=20_000):
    """Wait until the log has grown again."""
    until(lambda: log.stat().st_size >= by, what="a longer log")


# -- no line is lost --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", ["gzip", "zstd", "xz", "none"])
def test_no_line_is_lost_while_a_process_keeps_writing(log, pack):
    if pack != "none" and shutil.which(pack) is None:
        pytest.skip(f"not installed: {pack}")
    with writer(log, pause=0.0001) as one:
        for _ in range(4):
            grown(log)
            found = cycle(asked(log, compress=pack))
            assert (found.objections, found.problems) == ([], [])
            aged(log)
        total = one.stop()
    assert lines(log) == list(range(total))
    assert len(generations(log)) == 4
    assert nothing_begun(log)


def test_a_writer_without_a_pause(log):
    """A thousand lines at a stretch: what is written between the rename and the signal goes to the old file."""
    with writer(log, pause=0) as one:
        for _ in range(3):
            grown(log)
            assert cycle(asked(log, level=1)).problems == []
            aged(log)
        total = one.stop()
    assert total > 10_000
    assert lines(log) == list(range(total))


def test_no_line_is_lost_by_a_copy_that_is_cut_from_the_front(log, cuts):
    with writer(log, "deaf", pause=0) as one:
        for _ in range(4):
            grown(log)
            inode = log.stat().st_ino
            found = cycle(asked(log, method="copytruncate", level=1))
            assert (found.objections, found.problems) == ([], [])
            assert log.stat().st_ino == inode
            aged(log)
        total = one.stop()
    assert lines(log) == list(range(total))
    assert len(generations(log)) == 4


def test_a_writer_that_reopens_by_itself(log):
    """Python's WatchedFileHandler sees at its next line that its file was renamed; a quiet one holds it until then."""
    code = (
        "import logging, logging.handlers, sys\n"
        "handler = logging.handlers.WatchedFileHandler(sys.argv[1])\n"
        "logging.basicConfig(handlers=[handler], level=20, format='%(message)s')\n"
        "for line in sys.stdin: logging.info(line.strip())\n"
    )
    argv = [sys.executable, "-c", code, str(log)]
    more = {"reopen": None, "writer_reopens": True}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, text=True, bufsize=1) as process:
        process.stdin.write("000000000 first\n")
        until(lambda: log.exists() and log.stat().st_size, what="the first line")
        found = cycle(asked(log, **more))
        assert (found.problems, found.findings) == ([], ["generation_open"] * found.findings.count("generation_open"))
        (held,) = generations(log)
        assert held.read_text() == "000000000 first\n"  # it is held, and so it is not packed yet
        process.stdin.write("000000001 second\n")
        until(lambda: log.stat().st_size, what="the second line")
        aged(log)
        again = cycle(asked(log, **more))
        assert again.problems == []
        process.stdin.close()
        process.wait(60)
    assert generations(log)[0].suffix == ".gz"
    assert lines(log) == [0, 1]


# -- what goes wrong --------------------------------------------------------------------------------------


def test_a_writer_that_never_reopens(log):
    with writer(log, "deaf") as one:
        inode = log.stat().st_ino
        found = cycle(asked(log, reopen_timeout_seconds=1))
        assert "still written by" in found.problems[0]
        assert found.rolled == [
            "give the old logs their names back",
            "wait until nobody writes to the renamed logs",
            "remove what was begun",
        ]
        assert found.restored == []
        assert (log.stat().st_ino, generations(log)) == (inode, [])
        again, _params = begun(asked(log))
        assert again.before["logs"]["deleted"] == []  # Linux calls its descriptor deleted, and its name is back
        total = one.stop()
    assert lines(log) == list(range(total))
    assert nothing_begun(log)


def test_a_reopen_that_cannot_be_sent(log):
    with writer(log) as one:
        inode = log.stat().st_ino
        found = cycle(asked(log, reopen={"command": ["false"]}))
        assert found.problems[0].startswith("tell the writer to open its log anew: 1")
        assert (found.restored, log.stat().st_ino, generations(log)) == ([], inode, [])
        total = one.stop()
    assert lines(log) == list(range(total))


def test_one_of_two_writers_goes_over(log):
    """There is no way back then: both files are kept as they are, and the next run refuses until it is put right."""
    with writer(log) as one, writer(log.with_name("x.log")) as other:
        os.kill(other.process.pid, signal.SIGSTOP)
        second = subprocess.Popen(["sh", "-c", f"exec sleep 300 >>{log}"])
        try:
            until(lambda: Path(f"/proc/{second.pid}/fd/1").readlink() == log, what="the second writer")
            found = cycle(asked(log, reopen_timeout_seconds=1))
            assert any("still written by sleep" in problem for problem in found.problems)
            (kept,) = generations(log)
            assert kept.name.endswith("Z")
            aged(log)
            refused, _params = begun(asked(log))
            assert len(refused.objections) == 1
            assert f"process {second.pid}" in refused.objections[0]
        finally:
            second.kill()
            second.wait()
        total = one.stop()
        assert lines(log) == list(range(total))
        assert cycle(asked(log)).problems == []
    assert lines(log) == list(range(total))


def test_somebody_writes_while_the_name_is_given_back(log):
    """Between the look and the command that leads back, lines came into the new file: they are kept, under a name."""
    log.write_bytes(b"000000000 a\n")
    found, params = begun(asked(log, reopen=None))
    _send(found.plan.steps[0])
    found.after = dict(LocalShell().ask(OPERATION.facts_after(params, found.before)))
    back = OPERATION.rollback(params, found.before, found.after)
    log.write_bytes(b"000000001 b\n")
    for step in back.steps:
        _send(step)
    assert log.read_bytes() == b"000000000 a\n"
    assert [unpacked(path) for path in generations(log)] == [b"000000001 b\n"]
    assert nothing_begun(log)


def _send(step):
    subprocess.run(step.command.argv, check=True, capture_output=True, cwd="/")


# -- killed at any moment ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["rename", pytest.param("copytruncate", marks=pytest.mark.long)])
def test_commands_that_are_killed_at_any_moment(log, method, request):
    """SIGKILL for a command and all below it, at another moment each time; afterwards every line is there once."""
    if method == "copytruncate":
        request.getfixturevalue("cuts")
    chance = random.Random(4)  # another moment each time, and the same ones in the next run
    with writer(log, pause=0.0005) as one:
        for _ in range(25):
            grown(log, 5_000)
            found, params = begun(asked(log, method=method, force=True))
            assert found.objections == []
            victim = chance.randrange(len(found.plan.steps))
            for number, step in enumerate(found.plan.steps):
                if not _survives(step, chance.uniform(0.0, 0.12) if number == victim else None):
                    found.problems = [f"{step.title}: killed"]
                    break
            look(params, found)
            assert not found.restored
            assert nothing_begun(log)
            aged(log)
        # What was packed, and killed before the unpacked one went, lies there twice until the next run.
        assert cycle(asked(log, method=method, force=True)).problems == []
        total = one.stop()
    assert lines(log) == list(range(total)), generations(log)


def test_a_piece_that_was_killed_between_its_two_names_is_kept_once(log, cuts):
    """The new name was given, the old one was not yet taken away: the same lines are not there twice."""
    log.write_bytes(b"000000000 a\n" * 1000)
    found, params = begun(asked(log, method="copytruncate"))
    assert found.objections == []
    piece, named = log.with_name(f".{log.name}.opsqueue-8192-12000"), log.with_name(f"{log.name}-20260101T000000Z")
    piece.write_bytes(log.read_bytes()[:8192])
    log.write_bytes(log.read_bytes()[8192:])
    named.hardlink_to(piece)
    found.problems = ["killed"]
    look(params, found)
    assert not found.restored
    assert nothing_begun(log)
    assert generations(log) == [named]
    assert len(lines(log)) == 1000


def _survives(step, after):
    """Whether a command ended well; with `after` it gets SIGKILL so many seconds after it began."""
    argv = wrapped(step.command, root=True, timeout=None)
    with subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True
    ) as process:
        if after is not None:
            time.sleep(after)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return process.wait(120) == 0


# -- old ones ---------------------------------------------------------------------------------------------


def old(log, days, hours=0, text=b"", suffix=""):
    """A generation whose last line is so old."""
    then = datetime.now(UTC) - timedelta(days=days, hours=hours)
    path = log.with_name(f"{log.name}-{then:%Y%m%dT%H%M%SZ}{suffix}")
    path.write_bytes(text or b"x\n")
    os.utime(path, (then.timestamp(), then.timestamp()))
    return path


def test_what_is_too_old_goes_and_nothing_else(log):
    log.write_bytes(b"000000000 a\n")
    os.utime(log, (0, 0))  # a live log is never removed, however old
    gone = [old(log, 31, suffix=".gz", text=b"?"), old(log, 40, suffix=".zst", text=b"?")]
    others = [log.with_name(name) for name in ("app.log.1", "app.log.2.gz", "app.log-old", "other.log")]
    for path in others:
        path.write_bytes(b"other")
        os.utime(path, (0, 0))
    outside = log.parent / "elsewhere"
    outside.mkdir()
    link = old(log, 50)
    link.rename(outside / "kept")
    link.symlink_to(outside / "kept")
    kept = old(log, 29, suffix=".gz", text=b"?")
    found = cycle(asked(log, reopen=None, compress="none"))
    assert found.problems == []
    assert [path for path in (*gone, kept, link, *others) if path.exists()] == [kept, link, *others]
    assert (found.metrics["removed"], found.metrics["logs_rotated"]) == (2, 1)


def test_only_so_many_are_kept(log):
    """Packed on the way, what is too much goes after the new one is there, the oldest first."""
    log.write_bytes(b"000000009 z\n")
    made = [old(log, days, text=b"%09d a\n" % (9 - days)) for days in range(8, 0, -1)]
    found = cycle(asked(log, reopen=None, keep_most=3))
    assert found.problems == []
    assert [path.name.partition("Z")[0] for path in generations(log)][:2] == [one.name[:-1] for one in made[-2:]]
    assert [unpacked(path)[:9] for path in generations(log)] == [b"000000007", b"000000008", b"000000009"]


def test_what_is_open_is_not_removed(log):
    log.write_bytes(b"x\n")
    held = old(log, 90)
    with subprocess.Popen(["tail", "-f", str(held)], stdout=subprocess.DEVNULL) as tail:
        until(lambda: any(str(held) in str(fd.readlink()) for fd in Path(f"/proc/{tail.pid}/fd").iterdir()))
        found = cycle(asked(log, reopen=None, compress="none"))
        assert (found.problems, held.exists()) == ([], True)
        assert "generation_open" in found.findings
        tail.kill()
    aged(log)
    assert cycle(asked(log, reopen=None, compress="none")).problems == []
    assert [path for path in generations(log) if path.stat().st_mtime < time.time() - 80 * 86400] == []


def test_an_archive_elsewhere_keeps_what_it_can_be_told_by(log, tmp_path):
    log.write_bytes(b"000000000 a\n")
    log.chmod(0o604)
    os.utime(log, (1_700_000_000, 1_700_000_000.5))
    archive = tmp_path / "archive"
    found = cycle(asked(log, reopen=None, archive_dir=str(archive), log_retention_days=100_000))
    assert found.problems == []
    assert generations(log) == []
    (kept,) = generations(log, str(archive))
    assert kept.parent.parent == archive
    one = kept.stat()
    assert (oct(one.st_mode & 0o7777), one.st_mtime, unpacked(kept)) == ("0o604", 1_700_000_000.5, b"000000000 a\n")
    assert oct(log.stat().st_mode & 0o7777) == "0o604"


@needs_root
@needs("runuser")
def test_an_archive_of_somebody_else_is_refused(open_place):
    """Root makes directories there, and nobody may lead it elsewhere."""
    log = open_place / "app.log"
    log.write_bytes(b"000000000 a\n")
    archive = open_place / "archive"
    archive.mkdir()
    (open_place / "link").symlink_to(archive)
    linked, _params = begun(asked(log, reopen=None, archive_dir=f"{open_place}/link"))
    assert "is a link to" in linked.objections[0]
    shutil.chown(archive, "daemon")
    refused, _params = begun(asked(log, reopen=None, archive_dir=str(archive)))
    assert "belongs to daemon" in refused.objections[0]
    shutil.chown(archive, "root")
    theirs = open_place / "theirs"
    theirs.mkdir()
    shutil.chown(theirs, "daemon", "daemon")
    (theirs / "app.log").write_bytes(b"000000000 a\n")
    shutil.chown(theirs / "app.log", "daemon", "daemon")
    found = cycle(asked(theirs / "app.log", reopen=None, archive_dir=str(archive)))
    assert (found.objections, found.problems) == ([], [])
    assert [path.owner() for path in generations(theirs / "app.log", str(archive))] == ["daemon"]


def test_a_name_that_is_taken_is_never_written_over(log):
    """The clock may be set back, and names of the next seconds may be there already."""
    log.write_bytes(b"000000000 a\n")
    now = datetime.now(UTC).replace(microsecond=0)
    taken = [log.with_name(f"app.log-{now + timedelta(seconds=n):%Y%m%dT%H%M%SZ}") for n in range(3)]
    found, params = begun(asked(log, reopen=None))
    for path in taken:
        path.write_bytes(b"mine")
    found.problems = []
    for step in found.plan.steps[:1]:
        _send(step)
    assert [path.read_bytes() for path in taken] == [b"mine"] * 3
    assert len(generations(log)) == 4
    assert params


# -- links, names, people ---------------------------------------------------------------------------------


def test_links_are_told_and_not_followed(log):
    secret = log.parent / "elsewhere"
    secret.mkdir()
    (secret / "secret.log").write_bytes(b"secret\n")
    log.write_bytes(b"x\n")
    (log.parent / "link.log").symlink_to(secret / "secret.log")
    (log.parent / "hard.log").write_bytes(b"hard\n")
    (log.parent / "twin").hardlink_to(log.parent / "hard.log")
    (log.parent / "dir").symlink_to(secret)
    (log.parent / "odd name.log").write_bytes(b"odd\n")
    inner = f"{log.parent}/dir/*.log"
    found = cycle(asked(log, reopen=None, paths=[f"{log.parent}/*.log", inner, str(log)]))
    assert found.problems == []
    assert found.findings.count("log_not_rotated") == 4  # two sorts of links, what lies behind one, the odd name
    assert (secret / "secret.log").read_bytes() == b"secret\n"
    assert [path.name for path in secret.iterdir()] == ["secret.log"]
    assert (log.parent / "hard.log").read_bytes() == b"hard\n"
    assert len(generations(log)) == 1
    named, _params = begun(asked(log, reopen=None, paths=[f"{log.parent}/link.log"]))
    assert "symbolic link" in named.objections[0]


@needs_root
def test_a_link_that_comes_at_the_last_moment(log):
    """Between the look and the command, somebody who may write there puts a link in the place of the directory."""
    place = log.parent / "sub"
    place.mkdir()
    (place / "app.log").write_bytes(b"x\n")
    elsewhere = log.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "app.log").write_bytes(b"precious\n")
    before = snapshot(elsewhere)

    def swapped():
        place.rename(log.parent / "away")
        place.symlink_to(elsewhere)

    found = cycle(asked(place / "app.log", reopen=None), meanwhile=swapped)
    assert "is another directory now" in found.outputs[0]
    assert snapshot(elsewhere) == before
    assert found.rolled == []


@needs_root
@needs("runuser")
def test_in_a_directory_of_somebody_else_we_are_that_one(open_place):
    place = open_place / "theirs"
    place.mkdir()
    (place / "app.log").write_bytes(b"000000000 a\n")
    for path in (place, place / "app.log"):
        shutil.chown(path, "daemon", "daemon")
    found = cycle(asked(place / "app.log", reopen=None))
    assert (found.objections, found.problems) == ([], [])
    assert found.plan.steps[0].command.argv[:4] == ("runuser", "-u", "daemon", "--")
    assert {path.owner() for path in place.iterdir()} == {"daemon"}
    place.chmod(0o777)
    aged(place / "app.log")
    refused, _params = begun(asked(place / "app.log", reopen=None))
    assert "everybody may write" in refused.objections[0]


# -- twice ------------------------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing(log):
    log.write_bytes(b"x\n")
    old(log, 90)
    before = snapshot(log.parent)
    found, _params = begun(asked(log, reopen=None))
    assert found.plan
    assert snapshot(log.parent) == before


def test_the_second_run_within_the_period_does_nothing(log):
    log.write_bytes(b"x\n")
    assert len(cycle(asked(log, reopen=None)).plan.steps) == 3
    log.write_bytes(b"y\n")
    for force in (False, True):  # just now
        assert not begun(asked(log, reopen=None, force=force))[0].plan
    aged(log, hours=1)
    assert not begun(asked(log, reopen=None))[0].plan
    assert cycle(asked(log, reopen=None, force=True)).problems == []
    assert [unpacked(path) for path in generations(log)] == [b"x\n", b"y\n"]


def test_two_at_once(log):
    """One waits for the other, or says that it is at work; the log is rotated once."""
    log.write_bytes(b"000000000 a\n" * 50_000)
    runs = [begun(asked(log, reopen=None, level=9))[0] for _ in range(2)]
    threads = [threading.Thread(target=_all_of, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lines(log) == [0] * 50_000
    assert len([path for path in generations(log) if unpacked(path)]) == 1
    assert nothing_begun(log)


def _all_of(run):
    for step in run.plan.steps:
        subprocess.run(step.command.argv, capture_output=True, check=False, cwd="/")


def test_what_was_left_uncompressed_is_packed_by_the_next_run(log):
    """logrotate renames over it; here each generation has a name of its own."""
    log.write_bytes(b"000000001 b\n")
    left = old(log, 1, text=b"000000000 a\n")
    begun_of_it = log.with_name(f".{left.name}.opsqueue")
    begun_of_it.write_bytes(b"half")
    assert cycle(asked(log, reopen=None)).problems == []
    assert lines(log) == [0, 1]
    assert {path.suffix for path in generations(log)} == {".gz"}
    assert nothing_begun(log)


def test_an_archive_of_that_name_that_is_something_else_stays(log):
    log.write_bytes(b"x\n")
    left = old(log, 1, text=b"mine\n")
    taken = log.with_name(f"{left.name}.gz")
    taken.write_bytes(b"something else")
    found = cycle(asked(log, reopen=None))
    assert any("something else than" in problem for problem in found.problems)
    assert (left.read_bytes(), taken.read_bytes()) == (b"mine\n", b"something else")


@needs("logrotate")
def test_what_the_host_rotates_by_itself_is_refused(log):
    """Asked of the real logrotate, which only reads its configuration for it."""
    log.write_bytes(b"x\n")
    config = log.with_name("logrotate.conf")
    config.write_text(f"{log.parent}/*.log {{\n  weekly\n  rotate 3\n}}\n")
    config.chmod(0o644)
    before = snapshot(log.parent)
    refused, _params = begun(asked(log, reopen=None, logrotate_config=str(config)))
    assert "is rotated by logrotate" in refused.objections[0]
    skipped = cycle(asked(log, reopen=None, logrotate_config=str(config), when_unclear="skip"))
    assert (skipped.objections, bool(skipped.plan)) == ([], False)
    assert snapshot(log.parent) == before
    allowed = cycle(asked(log, reopen=None, logrotate_config=str(config), allow_managed=True))
    assert (allowed.problems, len(generations(log))) == ([], 1)


def test_a_log_that_is_written_without_append_is_not_cut(log, cuts):
    with writer(log, "no-append") as one:
        refused, _params = begun(asked(log, method="copytruncate"))
        assert "without O_APPEND" in refused.objections[0]
        one.stop()


def test_without_a_way_to_reopen_nothing_is_sent(log):
    with writer(log) as one:
        refused, _params = begun(asked(log, reopen=None))
        assert f"process {one.process.pid}" in refused.objections[0]
        assert "say with reopen" in refused.objections[0]
        gone, _params = begun(asked(log, reopen={"pid_file": f"{log}.nothing"}))
        assert "names no process that runs" in gone.objections[0]


# -- no room ----------------------------------------------------------------------------------------------


@needs_root
@needs("unshare", "mount")
@pytest.mark.parametrize("story", ["packing", "no_inode", "copying", "least_that_goes"])
def test_without_room(tmp_path, story):
    place = tmp_path / "small"
    place.mkdir()
    argv = ["unshare", "--mount", sys.executable, str(HERE / "log_room.py"), story, str(place)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


@needs_root
@needs("unshare", "mount", "journalctl")
def test_the_journal_of_systemd(tmp_path):
    if not Path("/lib/systemd/systemd-journald").exists():
        pytest.skip("not installed: systemd")
    argv = ["unshare", "--mount", sys.executable, str(HERE / "log_room.py"), "journal", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
