"""`backup_operation` with a real restic: what comes back, what is refused, and what is left when it goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import resticgen
from backup_cycle import Cycle, cycle, killed_at, params_of
from dbkit import ROOT, needs
from sshkit import Farm, needs_people
from treekit import differences, make_tree, seen

from opsqueue.connectors.local import LocalShell
from opsqueue.connectors.ssh.ways import Ways
from opsqueue.facts.on_host import restic_host
from opsqueue.model.plan import Command
from opsqueue.operations.backup_operation import OPERATION

pytestmark = [pytest.mark.service, needs(("restic", "restic"))]
as_root = pytest.mark.skipif(not ROOT, reason="needs root")
CANARY = "canary-8f2c-key"


class Here:
    """A directory with a source, a repository and its key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = directory / "key"
        self.key.write_text(f"{CANARY}\n")
        self.key.chmod(0o600)
        self.source = directory / "source"
        self.source.mkdir()
        self.repository = directory / "repository"
        self.work = directory / "work"

    def asked(self, **more):
        given = {
            "repository": str(self.repository),
            "password": {"$secret": f"file:{self.key}"},
            "work_dir": str(self.work),
            "sudo": ROOT,
        }
        task = more.get("task", "backup")
        paths = {"paths": [str(self.source)], "init": not (self.repository / "config").exists()}
        return {**given, **(paths if task == "backup" else {}), **more}

    def fill(self, count: int = 20) -> None:
        for number in range(count):
            (self.source / f"f{number}").write_text(f"text {number}\n" * 50)

    def restic(self, *words: str, check: bool = True) -> str:
        env = {**os.environ, "RESTIC_PASSWORD": CANARY, "RESTIC_REPOSITORY": str(self.repository)}
        done = subprocess.run(
            ["restic", "--no-cache", *words], env=env, capture_output=True, text=True, check=False, timeout=120
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def snapshots(self) -> list[dict]:
        return json.loads(self.restic("snapshots", "--json", "--no-lock")) or []

    def runs(self) -> list[tuple[int, bool]]:
        """The number of each snapshot, and whether it is proven."""
        tags = [one["tags"] for one in self.snapshots()]
        return sorted((int(next(t[4:] for t in each if t.startswith("run="))), "verified" in each) for each in tags)

    def size(self) -> int:
        return sum(path.stat().st_size for path in self.repository.rglob("*") if path.is_file())

    def locked(self) -> list[str]:
        return self.restic("list", "locks", "--no-lock").split()

    def whole(self) -> None:
        """Nobody holds it, and everything that is in it can be read."""
        assert self.locked() == []
        self.restic("check", "--read-data")
        assert not list(self.work.glob("*/*.partial"))


@pytest.fixture
def bare():
    """Without a repository: restic makes it, with a key that costs it half a second each time."""
    directory = Path(tempfile.mkdtemp(prefix="oqbk"))
    try:
        yield Here(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def here(bare):
    resticgen.repository(bare.repository, CANARY)
    return bare


def proven(found: Cycle) -> Cycle:
    assert found.good, (found.objections, found.problems)
    return found


# -- what comes back --------------------------------------------------------------------------------------


def test_everything_that_is_in_a_tree_comes_back(bare):
    make_tree(bare.source)
    if not ROOT:
        (bare.source / "mode000").unlink()
    found = proven(cycle(bare.asked(level="full")))
    sparse = restic_version() >= (0, 15)
    assert found.metrics["differences"] == 0
    assert found.metrics["entries_compared"] == len(list(bare.source.rglob("*")))  # the root itself, not the socket
    assert found.metrics["coverage"] == 100
    report = found.after["sources"]["runs"]["000001"]["report"]
    assert report["losses"] == {"sockets": 1, "holes": 0 if sparse else 2 - 1}
    back = bare.directory / "back"
    proven(cycle(bare.asked(task="restore", restore_to=str(back))))
    assert differences(bare.source, back / bare.source.relative_to("/"), sparse=sparse) == []


def restic_version() -> tuple[int, ...]:
    words = subprocess.run(["restic", "version"], capture_output=True, text=True, check=True).stdout.split()
    return tuple(map(int, words[1].split(".")))


def test_a_sample_has_every_sort_of_entry_and_is_another_next_time(here):
    make_tree(here.source)
    here.fill(200)
    if not ROOT:
        (here.source / "mode000").unlink()
    first = proven(cycle(here.asked(sample_files=5)))
    assert 5 < first.metrics["entries_compared"] < 40
    chosen = [json.loads((here.work / f"data/00000{n}/sample.json").read_text()) for n in (1,)]
    proven(cycle(here.asked(sample_files=5)))
    chosen.append(json.loads((here.work / "data/000002/sample.json").read_text()))
    assert chosen[0] != chosen[1]
    names = {Path(path).name for each in chosen for path in each}
    assert "fifo" in names


def test_the_second_backup_adds_little_and_reads_nothing_again(here):
    (here.source / "large").write_bytes(os.urandom(5 << 20))
    first = proven(cycle(here.asked()))
    grown = here.size()
    (here.source / "small").write_text("new")
    second = proven(cycle(here.asked()))
    added = first.metrics["bytes_added"]
    assert added > 5 << 20
    assert 0.95 * added < grown < 1.05 * added  # what is told is what the disk has
    assert second.metrics["bytes_added"] < 1 << 20
    assert (second.metrics["files_new"], second.metrics["files_unmodified"]) == (1, 1)
    assert '"hashed": 1' in second.said
    assert here.runs() == [(1, True), (2, True)]


def test_nothing_of_it_is_readable_in_the_repository(here):
    (here.source / "marked").write_text("MARKER-in-plain-text " * 1000)
    proven(cycle(here.asked()))
    files = [path for path in here.repository.rglob("*") if path.is_file()]
    assert len(files) > 3
    for path in files:
        assert b"MARKER" not in path.read_bytes()
        assert CANARY.encode() not in path.read_bytes()


# -- what belongs to it -----------------------------------------------------------------------------------


def test_what_is_left_out_is_left_out(here):
    for name in ("keep", "x.tmp", "deep/er/y.tmp", "skip/inside", "cache/CACHEDIR.TAG", "cache/data", "odd [1]/in"):
        path = here.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("Signature: 8a477f597d28d172789f06886806bc55" if "TAG" in name else name)
    left_out = ["*.tmp", str(here.source / "skip"), str(here.source / "odd [1]")]
    found = proven(cycle(here.asked(level="full", exclude=left_out)))
    files = {line.rsplit("/", 1)[1] for line in here.restic("ls", "latest").splitlines() if "/" in line}
    assert {"keep", "CACHEDIR.TAG", "er"} <= files
    assert not {"x.tmp", "y.tmp", "inside", "data", "in"} & files
    assert found.metrics["differences"] == 0


@as_root
def test_what_is_mounted_below_is_left_out(here):
    here.fill(3)
    mounted = here.source / "mounted"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "opsqueue-test", str(mounted)], check=True)
    try:
        (mounted / "elsewhere").write_text("x")
        proven(cycle(here.asked(level="full")))
        assert "elsewhere" not in here.restic("ls", "latest")
        proven(cycle(here.asked(level="full", one_file_system=False)))
        assert "elsewhere" in here.restic("ls", "latest")
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_a_configuration_says_what_is_other_than_before(here):
    here.fill(3)
    proven(cycle(here.asked(set="configuration")))
    (here.source / "f1").write_text("other")
    (here.source / "added").write_text("new")
    found = proven(cycle(here.asked(set="configuration")))
    assert "configuration_changed" in found.findings
    changed = found.after["repository"]["changed"]
    assert changed["count"] >= 2
    assert any("added" in line for line in changed["first"])


def test_a_system_brings_its_inventory(here):
    here.fill(3)
    proven(cycle(here.asked(set="system", level="full")))
    names = here.restic("ls", "latest")
    assert "/kernel" in names
    if shutil.which("dpkg-query"):
        assert "/packages-dpkg" in names


# -- refused at verify ------------------------------------------------------------------------------------


def test_a_repository_that_is_not_there_is_found_before_anything_is_done(bare):
    bare.fill()
    refused = cycle(bare.asked(init=False))
    assert "no repository at" in refused.objections[0]
    assert not bare.repository.exists()
    assert not bare.work.exists()


def test_another_key_is_told_from_a_repository_that_is_gone(here):
    here.fill()
    proven(cycle(here.asked()))
    here.key.write_text("another\n")
    assert "the key does not open" in cycle(here.asked()).objections[0]


def test_the_key_may_lie_on_the_host_and_sets_live_side_by_side(here):
    here.fill(3)
    given = {key: value for key, value in here.asked().items() if key != "password"}
    proven(cycle({**given, "password_file": str(here.key), "name": "first"}))
    proven(cycle({**given, "password_file": str(here.key), "name": "second", "init": False}))
    sets = sorted(tag for one in here.snapshots() for tag in one["tags"] if tag.startswith("set="))
    assert sets == ["set=first", "set=second"]
    assert here.runs() == [(1, True), (1, True)]
    assert "cannot be reached" in cycle({**given, "password_file": "/nonexistent", "init": False}).objections[0]


def test_a_path_that_is_not_there_is_refused_and_nothing_is_skipped(bare):
    bare.fill()
    refused = cycle(bare.asked(paths=[str(bare.source), str(bare.directory / "gone")]))
    assert "not there" in refused.objections[0]
    assert not bare.repository.exists()


def test_an_empty_source_is_refused(here):
    shutil.rmtree(here.source)
    refused = cycle(here.asked())
    assert any("nothing" in one or "not there" in one for one in refused.objections)


@as_root
def test_a_full_disk_is_found_before_anything_is_done(here):
    with small_disk(here, "6m"):
        here.fill()
        proven(cycle(here.asked()))
        (here.source / "large").write_bytes(os.urandom(20 << 20))
        refused = cycle(here.asked())
        assert "bytes free" in refused.objections[0]
        here.whole()


@as_root
def test_a_disk_that_became_read_only_is_found_before_anything_is_done(here):
    with small_disk(here, "20m"):
        here.fill()
        proven(cycle(here.asked()))
        subprocess.run(["mount", "-o", "remount,ro", str(here.repository)], check=True)
        assert "read-only" in cycle(here.asked()).objections[0]


class small_disk:  # noqa: N801 - read as a word
    """The repository on a disk of its own, of this size."""

    def __init__(self, here: Here, size: str) -> None:
        self.here, self.size = here, size

    def __enter__(self) -> None:
        words = ["mount", "-t", "tmpfs", "-o", f"size={self.size}", "opsqueue-test", str(self.here.repository)]
        subprocess.run(words, check=True)
        resticgen.repository(self.here.repository, CANARY)

    def __exit__(self, *_why: object) -> None:
        subprocess.run(["umount", "-l", str(self.here.repository)], check=True)


def test_looking_changes_nothing(here):
    here.fill()
    proven(cycle(here.asked()))
    before = seen(here.directory)
    for more in ({}, {"task": "verify"}, {"task": "restore", "restore_to": str(here.directory / "back")}):
        params = params_of(here.asked(**more))
        found = LocalShell().ask(OPERATION.facts(params))
        assert OPERATION.objections(params, found) == ()
        assert OPERATION.plan(params, found)
    assert seen(here.directory) == before


# -- what goes wrong on the way ---------------------------------------------------------------------------


@as_root
def test_a_disk_that_fills_up_half_way_leaves_the_old_backups(here):
    with small_disk(here, "24m"):
        here.fill()
        proven(cycle(here.asked()))
        (here.source / "large").write_bytes(os.urandom(8 << 20))
        filler = here.repository / "filler"

        def fill(title: str) -> None:
            if title.startswith("back up") and not filler.exists():
                free = os.statvfs(here.repository).f_bavail * os.statvfs(here.repository).f_frsize
                filler.write_bytes(b"x" * (free - (2 << 20)))

        found = cycle(here.asked(timeout_seconds=60), during=fill)
        assert found.problems
        assert found.restored == []
        filler.unlink()
        assert here.runs() == [(1, True)]
        here.whole()
        proven(cycle(here.asked()))
        assert here.runs() == [(1, True), (2, True)]


@as_root
def test_a_target_that_is_lost_half_way_is_unknown_and_says_where_to_look(here):
    with small_disk(here, "20m"):
        here.fill()
        proven(cycle(here.asked()))

        def lose(title: str) -> None:
            if title.startswith("mark"):
                subprocess.run(["mount", "-t", "tmpfs", "opsqueue-test", str(here.repository)], check=True)

        found = cycle(here.asked(), during=lose)
        subprocess.run(["umount", str(here.repository)], check=True)
        assert found.problems
        # The snapshot is on the disk that is away: nothing could be forgotten, and nobody says that it was.
        assert found.restored
        assert any("not known" in one for one in found.restored)
        proven(cycle(here.asked()))
        assert all(state for _run, state in here.runs())


def test_a_file_that_changes_is_told_and_the_rest_is_proven(here):
    here.fill()
    log = here.source / "log"
    log.write_text("begin\n")
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.001):
            with log.open("a") as file:
                file.write("line\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = cycle(here.asked(level="full"))
    finally:
        stop.set()
        writer.join()
    proven(found)
    assert "changed_meanwhile" in found.findings
    assert any(str(log) in one for one in found.messages)
    assert found.metrics["entries_compared"] >= 20


def test_files_that_come_and_go_disturb_nothing(here):
    here.fill()
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.wait(0.001):
            path = here.source / f"passing{number % 50}"
            path.unlink() if path.exists() else path.write_text("x" * number)
            number += 1

    churner = threading.Thread(target=churn)
    churner.start()
    try:
        found = cycle(here.asked(level="full"))
    finally:
        stop.set()
        churner.join()
    proven(found)


@needs_people
def test_a_file_that_cannot_be_read_is_refused_or_told(bare):
    """As somebody who is not root, over SSH."""
    bare.fill()
    subprocess.run(["chown", "-R", "1:1", str(bare.source)], check=True)
    (bare.source / "secret").write_text("x")
    (bare.source / "secret").chmod(0)
    bare.directory.chmod(0o755)
    (bare.directory / "open").mkdir()
    (bare.directory / "open").chmod(0o777)
    bare.repository = bare.directory / "open/repository"
    with Farm(hosts=1, people=True) as farm:
        ways = Ways(farm.pin(farm.folder / "known_hosts"))
        try:
            shell = ways.shell(farm.host(user="plain"))
            bare.work.mkdir()
            os.chown(bare.work, int(shell.run(Command(argv=("id", "-u"))).stdout), -1)
            asked = bare.asked(sudo=False)
            assert "secret: Permission denied" in cycle(asked, shell=shell).objections[0]
            assert not bare.repository.exists()
            found = proven(cycle({**asked, "on_partial": "report"}, shell=shell))
            assert "incomplete" in found.findings
            assert any("secret" in one for one in found.messages)
            # Those who may read everything, by sudo, back up everything.
            again = proven(cycle({**asked, "sudo": True, "work_dir": str(bare.directory / "w2")}, shell=ways.shell(
                farm.host(user="ops"))))  # fmt: skip
            assert "incomplete" not in again.findings
        finally:
            ways.close()


@as_root
def test_what_cannot_be_read_only_while_it_is_read_is_no_backup(here):
    """A file whose bytes the kernel refuses even to root, as on a bad disk: one of sysfs that can only be written."""
    here.fill()
    bad = here.source / "bad"
    bad.write_text("x")

    def breaks(title: str) -> None:
        if title.startswith("back up"):
            subprocess.run(["mount", "--bind", "/sys/bus/cpu/uevent", str(bad)], check=True)

    try:
        found = cycle(here.asked(one_file_system=False), during=breaks)
        assert found.problems
        assert "bad" in " ".join(found.problems)
        assert "forget what is not proven" in found.rolled
        assert found.restored == []
        assert here.runs() == []
        here.whole()
    finally:
        subprocess.run(["umount", str(bad)], check=False)
    proven(cycle(here.asked()))


def test_a_path_that_vanishes_between_looking_and_reading_is_no_backup(here):
    here.fill()
    second = here.directory / "second"
    second.mkdir()
    (second / "x").write_text("x")
    asked = here.asked(paths=[str(here.source), str(second)])
    found = cycle(asked, meanwhile=lambda: shutil.rmtree(second))
    assert found.problems
    assert found.restored == []
    assert here.runs() == []


def test_a_restore_that_is_not_what_was_backed_up_is_no_backup(here):
    """Somebody writes into the scratch restore: what differs is named, and the snapshot is forgotten."""
    here.fill()

    def spoil(title: str) -> None:
        if title == "compare it":
            (path,) = here.work.glob("data/*.partial/restored/**/f1")
            path.write_text("other")

    found = cycle(here.asked(level="full"), during=spoil)
    assert any("f1" in one and "differ" in one for one in found.problems)
    assert found.rolled == ["forget what is not proven", "remove what was begun"]
    assert found.restored == []
    assert here.runs() == []
    here.whole()


# -- killed -----------------------------------------------------------------------------------------------

STEPS = ("make the repository", "back up", "write down", "restore it", "compare", "keep what", "mark it", "forget")


@pytest.mark.long
@pytest.mark.parametrize("title", STEPS)
def test_a_worker_that_is_killed_leaves_the_old_or_the_new(bare, title):
    bare.fill()
    found = killed_at(bare.asked(), title)
    assert found.restored in (None, [])
    if found.problems and title == "make the repository" and not (bare.repository / "config").exists():
        return
    if (bare.repository / "config").exists():
        assert bare.runs() == ([] if found.problems else [(1, True)])
        bare.whole()


@pytest.mark.long
@pytest.mark.parametrize("title", ["back up", "mark it", "forget", "restore it"])
def test_a_host_that_goes_down_leaves_no_lock_of_ours(here, title):
    """restic and whoever started it are killed together; the next look finds its lock, and removes only that."""
    here.fill()
    (here.source / "large").write_bytes(os.urandom(30 << 20))
    proven(cycle(here.asked()))
    (here.source / "more").write_bytes(os.urandom(30 << 20))
    found = killed_at(here.asked(keep_last=1), title, everything=True)
    assert found.restored in (None, []), found.problems
    assert (1, True) in here.runs()
    assert all(state for _run, state in here.runs())
    here.whole()
    proven(cycle(here.asked()))
    here.whole()


def test_the_lock_of_a_living_process_is_waited_for_and_never_removed(here):
    here.fill()
    proven(cycle(here.asked()))
    with holder(here) as other:
        (lock,) = here.locked()
        found = cycle(here.asked(lock_wait_seconds=1))
        assert found.problems  # the mark needs the repository for itself
        assert "still locked" in found.said
        assert str(other.pid) in found.said
        assert here.locked() == [lock]
    # What could not be forgotten meanwhile is never proven: the next run does.
    found = proven(cycle(here.asked()))
    assert all(state for _run, state in here.runs())


def test_the_lock_of_another_dead_process_is_told_and_not_removed(here):
    """Not started by opsqueue: only a person can know."""
    here.fill()
    proven(cycle(here.asked()))
    with holder(here) as other:
        other.kill()
        other.wait()
    (lock,) = here.locked()
    refused = cycle(here.asked())
    assert "was not started by opsqueue" in refused.objections[0]
    assert here.locked() == [lock]
    here.restic("unlock")
    proven(cycle(here.asked()))


class holder:  # noqa: N801 - read as a word
    """A restic of somebody else that holds the repository: it backs up from a pipe that nobody closes."""

    def __init__(self, here: Here) -> None:
        self.here = here

    def __enter__(self) -> subprocess.Popen:
        env = {**os.environ, "RESTIC_PASSWORD": CANARY, "RESTIC_REPOSITORY": str(self.here.repository)}
        self.process = subprocess.Popen(
            ["restic", "--no-cache", "backup", "--stdin"], env=env, stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not self.here.locked():
            assert time.monotonic() < deadline, "no lock"
            time.sleep(0.05)
        return self.process

    def __exit__(self, *_why: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            self.here.restic("unlock")
        assert self.process.stdin is not None
        self.process.stdin.close()


def test_two_at_once_into_one_repository_both_come_to_their_end(here):
    here.fill()
    proven(cycle(here.asked()))
    found: list[Cycle] = []
    names = ("one", "two")
    asked = [here.asked(name=name, lock_wait_seconds=60) for name in names]
    threads = [threading.Thread(target=lambda a=one: found.append(cycle(a))) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.problems for one in found] == [[], []]
    here.whole()


# -- retention --------------------------------------------------------------------------------------------


def at(here: Here, run: int, when: str, *, name: str = "data") -> None:
    """A proven backup of another time."""
    tags = f"opsqueue,set={name},run={run},verified"
    here.restic("backup", "--host", os.uname().nodename, "--tag", tags, "--time", when, str(here.source))


def test_the_policy_keeps_what_it_says_and_nothing_of_others(here):
    here.fill(3)
    for run, when in enumerate(("2020-01-01 10:00:00", "2021-05-05 10:00:00", "2021-05-05 20:00:00",
                                "2022-12-31 23:00:00", "2023-01-01 01:00:00"), 1):  # fmt: skip
        at(here, run, when)
    at(here, 1, "2019-01-01 00:00:00", name="other")
    found = proven(cycle(here.asked(keep_last=1, backup_retention_days=30, keep_yearly=3)))
    kept = {one["time"][:10] for one in here.snapshots() if "set=data" in one["tags"]}
    assert kept >= {"2023-01-01", "2022-12-31"}
    assert not kept & {"2020-01-01", "2021-05-05"}
    assert found.metrics["backups_kept"] == 3
    assert sum("set=other" in one["tags"] for one in here.snapshots()) == 1


def test_nothing_is_forgotten_while_the_newest_is_not_proven(here):
    here.fill(3)
    at(here, 1, "2020-01-01 10:00:00")

    def spoil(title: str) -> None:
        if title == "compare it":
            for path in here.work.glob("data/*.partial/restored/**/f1"):
                path.write_text("other")

    assert cycle(here.asked(keep_last=1, level="full"), during=spoil).problems
    assert here.runs() == [(1, True)]


def test_what_was_never_proven_is_forgotten_after_a_proven_one(here):
    here.fill(3)
    tags = "opsqueue,set=data,run=1"
    here.restic("backup", "--host", os.uname().nodename, "--tag", tags, str(here.source))
    proven(cycle(here.asked()))
    assert here.runs() == [(2, True)]


# -- verified again ---------------------------------------------------------------------------------------


def pack(here: Here) -> Path:
    """The largest file of data in the repository."""
    return max(
        (path for path in (here.repository / "data").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )


def test_a_good_backup_is_verified_in_parts(here):
    here.fill()
    proven(cycle(here.asked()))
    first = proven(cycle(here.asked(task="verify", read_data_parts=3)))
    second = proven(cycle(here.asked(task="verify", read_data_parts=3)))
    assert first.metrics["differences"] == 0
    parts = [
        word for one in (first, second) for step in one.plan.steps for word in step.command.argv if "subset" in word
    ]
    assert parts == ["--read-data-subset=1/3", "--read-data-subset=2/3"]
    assert first.findings == []


def damaged(found: Cycle) -> None:
    assert found.problems
    assert found.findings == ["backup_damaged"]
    assert found.rolled == []  # nothing was changed, nothing leads back


def test_a_flipped_byte_is_found(here):
    here.fill()
    (here.source / "large").write_bytes(os.urandom(1 << 20))
    proven(cycle(here.asked()))
    file = pack(here)
    file.chmod(0o600)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    damaged(cycle(here.asked(task="verify", read_data="all")))
    damaged(cycle(here.asked(task="verify", read_data="none", level="full")))
    assert here.locked() == []


def test_a_pack_that_is_gone_is_found(here):
    """One that only the backup before needs: what is restored for proof is whole, and the repository is not."""
    here.fill()
    at(here, 1, "2020-01-01 10:00:00")
    large = here.source / "large"
    large.write_bytes(os.urandom(1 << 20))
    at(here, 2, "2020-01-02 10:00:00")
    large.unlink()
    proven(cycle(here.asked()))
    pack(here).unlink()
    damaged(cycle(here.asked(task="verify", read_data="none")))


def test_an_index_that_is_gone_is_found(here):
    here.fill()
    proven(cycle(here.asked()))
    for path in (here.repository / "index").iterdir():
        path.unlink()
    damaged(cycle(here.asked(task="verify", read_data="none")))


def test_a_manifest_that_says_otherwise_is_found(here):
    """What is compared is what was written down then, not the files of today."""
    here.fill()
    proven(cycle(here.asked()))
    (here.source / "f3").write_text("other today")
    proven(cycle(here.asked(task="verify", level="full")))


def test_without_a_manifest_everything_is_restored_and_it_is_told(here):
    here.fill()
    proven(cycle(here.asked()))
    shutil.rmtree(here.work)
    found = proven(cycle(here.asked(task="verify")))
    assert found.findings == ["no_manifest"]


def test_an_old_backup_fails_its_verification(here):
    here.fill()
    at(here, 1, "2020-01-01 10:00:00")
    assert "hours old" in " ".join(cycle(here.asked(task="verify")).problems)


@pytest.mark.long
@pytest.mark.parametrize("title", ["check the repository", "restore it", "compare", "keep the report"])
def test_a_verification_that_is_killed_leaves_nothing(here, title):
    here.fill()
    proven(cycle(here.asked()))
    found = killed_at(here.asked(task="verify"), title)
    assert found.restored in (None, [])
    here.whole()


# -- brought back -----------------------------------------------------------------------------------------


def test_a_restore_never_goes_where_something_is(here):
    here.fill()
    proven(cycle(here.asked()))
    full = here.directory / "full"
    full.mkdir()
    (full / "mine").write_text("mine")
    assert "not empty" in cycle(here.asked(task="restore", restore_to=str(full))).objections[0]
    link = here.directory / "link"
    link.symlink_to(full)
    assert "symbolic link" in cycle(here.asked(task="restore", restore_to=str(link))).objections[0]
    inside = str(here.directory / "none" / "deep")
    assert "is not there" in cycle(here.asked(task="restore", restore_to=inside)).objections[0]
    assert [path.name for path in full.iterdir()] == ["mine"]


def test_an_empty_directory_is_filled_and_a_part_is_a_part(here):
    here.fill()
    proven(cycle(here.asked()))
    back = here.directory / "back"
    back.mkdir()
    found = proven(cycle(here.asked(task="restore", restore_to=str(back), include=[str(here.source / "f7")])))
    assert found.metrics["entries_compared"] == 1
    assert [path.name for path in back.rglob("*") if path.is_file()] == ["f7"]
    outside = cycle(here.asked(task="restore", restore_to=str(here.directory / "b2"), include=["/etc/nothing"]))
    assert "is not in run 1" in outside.objections[0]


def test_a_restore_in_place_keeps_what_was_there(here):
    make_tree(here.source)
    if not ROOT:
        (here.source / "mode000").unlink()
    proven(cycle(here.asked()))
    before = here.directory / "before"
    subprocess.run(["cp", "-a", str(here.source), str(before)], check=True)
    (here.source / "plain").unlink()
    (here.source / "added").write_text("added later")
    given = here.asked(task="restore", in_place=True, include=[str(here.source)])
    assert OPERATION.risk(params_of(given)).value == "destructive"
    found = proven(cycle(given))
    assert found.findings == ["moved_aside"]
    assert differences(before, here.source, sparse=restic_version() >= (0, 15)) == []
    aside = here.directory / "source.before-restore"
    assert (aside / "added").read_text() == "added later"
    assert "is there already" in cycle(given).objections[0]


def test_what_was_deleted_comes_back_in_place(here):
    here.fill()
    proven(cycle(here.asked()))
    (here.source / "f4").unlink()
    proven(cycle(here.asked(task="restore", in_place=True, include=[str(here.source / "f4")])))
    assert (here.source / "f4").read_text().startswith("text 4")
    assert not list(here.source.glob(".*"))


@pytest.mark.long
@pytest.mark.parametrize(
    "title",
    ["its place", "beside it", "compare", "keep the report", "move aside", "put it back", "remove what is left"],
)
def test_a_restore_in_place_that_is_killed_leaves_the_old_or_the_new(here, title):
    here.fill()
    proven(cycle(here.asked()))
    (here.source / "f4").write_text("today")
    found = killed_at(here.asked(task="restore", in_place=True, include=[str(here.source)]), title)
    assert found.restored in (None, [])
    text = (here.source / "f4").read_text()
    assert text == "today" if found.problems else text.startswith("text 4")
    assert {path.name for path in here.directory.iterdir()} - {"source.before-restore"} == {
        "key", "repository", "source", "work"}  # fmt: skip
    here.whole()
    if found.problems:  # and once more, as if nothing had happened
        proven(cycle(here.asked(task="restore", in_place=True, include=[str(here.source)])))


def test_who_owns_the_directory_leads_a_restore_nowhere_else(here):
    """Between two steps somebody puts a link, or a directory of their own, where root is about to write."""
    victim = here.directory / "victim"
    (victim / "etc").mkdir(parents=True)
    (victim / "etc" / "f4").write_text("of root")
    (victim / "etc").chmod(0o700)
    here.fill()
    proven(cycle(here.asked()))
    (here.source / "f4").write_text("today")
    beside = here.directory / ".source.opsqueue-data"
    (deep := here.directory / "theirs").mkdir()
    for name in here.source.relative_to("/").parts[:-1]:
        deep = deep / name
        deep.mkdir()
    (deep / "source").symlink_to(victim / "etc")

    def link(title: str) -> None:
        if title == "make its place":
            beside.symlink_to(victim)

    def swap(title: str) -> None:
        if title.endswith("beside it"):
            beside.rename(here.directory / "away")
            beside.symlink_to(here.directory / "theirs")

    def own(title: str) -> None:
        if title.endswith("beside it"):
            beside.rename(here.directory / "away")
            shutil.copytree(here.directory / "theirs", beside, symlinks=True)
            beside.chmod(0o700)

    for attack in (link, swap, own):
        found = cycle(here.asked(task="restore", in_place=True, include=[str(here.source)]), during=attack)
        assert found.problems
        assert found.restored == []
        assert (victim / "etc" / "f4").read_text() == "of root"
        assert [path.name for path in victim.rglob("*")] == ["etc", "f4"]
        assert (here.source / "f4").read_text() == "today"
        assert not os.path.lexists(beside)
        shutil.rmtree(here.directory / "away", ignore_errors=True)
    here.whole()
    proven(cycle(here.asked(task="restore", in_place=True, include=[str(here.source)])))


def test_what_somebody_planted_in_a_snapshot_stays_in_its_place(here):
    """Names that climb, and a directory behind a link of the same name: nothing is written beside the goal."""
    victim = here.directory / "victim"
    victim.mkdir()
    (victim / "f").write_text("of somebody else")
    evil = {"type": "file", "name": "f", "content": b"evil"}
    climbing = [{**evil, "name": name} for name in ("../evil", f"{victim}/f")]
    link = {"type": "symlink", "name": "out", "linktarget": str(victim)}
    behind = {"type": "dir", "name": "out", "below": [evil, {**evil, "name": "evil"}]}
    trees = [[one] for one in climbing] + [[link, behind], [behind, link], [{**evil, "name": "good"}]]
    for run, nodes in enumerate(trees, 1):
        tags = ["opsqueue", "set=data", f"run={run}", "verified"]
        resticgen.planted(here.repository, nodes, tags, os.uname().nodename)
    here.restic("check")
    for run in range(1, len(trees) + 1):
        back = here.directory / f"back{run}"
        found = cycle(here.asked(task="restore", restore_to=str(back), snapshot=str(run)))
        assert found.objections == []
        assert [(path.name, path.read_text()) for path in victim.iterdir()] == [("f", "of somebody else")], run
        assert all(back in path.parents for path in here.directory.rglob("evil")), run
        assert bool(found.problems) == (run < len(trees)), (run, found.said)
        assert not list(here.directory.glob(".*")), run
    assert (back / "good").read_text() == "evil"


def test_a_restore_that_is_not_what_was_backed_up_is_taken_back(here):
    here.fill()
    proven(cycle(here.asked()))
    (here.source / "f4").write_text("today")

    def spoil(title: str) -> None:
        if title == "compare it":
            (path,) = here.directory.glob(".source.opsqueue-data/**/f1")
            path.write_text("other")

    found = cycle(here.asked(task="restore", in_place=True, include=[str(here.source)]), during=spoil)
    assert any("f1: size" in one for one in found.problems)
    assert found.restored == []
    assert (here.source / "f4").read_text() == "today"


# -- the program on the host ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said", "means"),
    [
        (0, "", 0),
        (1, "Fatal: wrong password or no key found", 12),
        (1, "repository is already locked exclusively by PID 1", 11),
        (1, "Is there a repository at the following location?", 10),
        (1, "Fatal: unable to create lock in backend: no space left on device", 1),
        (10, "", 10),
        (11, "", 11),
        (12, "", 12),
        (3, "", 3),
        (-9, "", 137),
    ],
)
def test_exit_codes_of_old_and_new_versions(code, said, means):
    assert restic_host.meaning(code, said) == means
