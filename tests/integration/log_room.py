"""Rotations on a file system without room, each a story; as a program it runs one in a mount name space of its own.

`python log_room.py STORY DIRECTORY` mounts a small tmpfs there, which nobody else sees, and ends with it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from logkit import aged, begun, cycle, generations, lines, nothing_begun, unpacked, until, writer

MB = 1 << 20
JOURNALD = "/lib/systemd/systemd-journald"


def mount(place: Path, options: str) -> Path:
    """A small file system, or the same one with other limits; where the log lies on it."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "oqlog", str(place)], check=True)
    place.chmod(0o755)
    return place / "app.log"


def asked(log, **more):
    reopen = {"reopen": {"pid_file": f"{log}.pid"}} if Path(f"{log}.pid").exists() else {}
    return {"paths": [str(log)], "roots": [str(log.parent)], **reopen, **more}


def filled(place: Path, leave: int) -> Path:
    """Take the room, save so many bytes."""
    room = os.statvfs(place)
    path = place / "filler"
    path.write_bytes(b"\0" * max(0, room.f_bavail * room.f_frsize - leave))
    return path


def packing(place):
    """The disk is full when it packs: the rotated log is whole, nothing is half done, and the next run packs it."""
    log = mount(place, "size=8m")
    with writer(log, pause=0.02) as one:  # so slow that it does not take the room which is left itself
        with log.open("ab") as file:
            for _ in range(MB // 64):
                file.write(b"999999999 %s\n" % os.urandom(27).hex().encode())
        found = cycle(asked(log), meanwhile=lambda: filled(place, 300_000))
        assert any("could not be stored" in said for said in found.problems), found.problems
        assert any("lies there unpacked, and whole" in said for said in found.problems), found.problems
        assert not found.rolled
        assert nothing_begun(log)
        (kept,) = generations(log)
        assert kept.name.endswith("Z")
        (place / "filler").unlink()
        aged(log)
        assert cycle(asked(log)).problems == []
        total = one.stop()
    assert [number for number in lines(log) if number != 999_999_999] == list(range(total))
    assert len(generations(log)) == 2
    assert all(path.suffix == ".gz" for path in generations(log))


def no_inode(place):
    """No new file can be made: nothing is changed."""
    log = mount(place, "size=4m,nr_inodes=5")  # the root, the log, the pid file, its new name once, and one more
    with writer(log) as one:
        for number in range(2):
            (place / f"filler{number}").touch()
        inode = log.stat().st_ino
        found = cycle(asked(log))
        assert "No space left on device" in found.problems[0], found.problems
        assert (log.stat().st_ino, log.stat().st_nlink, generations(log)) == (inode, 1, [])
        total = one.stop()
    assert lines(log) == list(range(total))
    assert nothing_begun(log)


def copying(place):
    """The disk is full in the middle of a copy: the log is as it was."""
    log = mount(place, "size=4m")
    log.write_bytes(b"%0999d\n" % 7 * 1500)
    found = cycle(asked(log, method="copytruncate", may_lose_lines=True), meanwhile=lambda: filled(place, 100_000))
    assert "No space left on device" in found.problems[0], found.problems
    assert (log.stat().st_size, generations(log)) == (1_500_000, [])
    assert nothing_begun(log)
    (place / "filler").unlink()
    assert cycle(asked(log, method="copytruncate", may_lose_lines=True)).problems == []
    assert [len(unpacked(path)) for path in generations(log)] == [1_500_000]
    assert log.stat().st_size == 0


def least_that_goes(place):
    """`min_free_percent`: the oldest go, and no more of them than it takes; if that is not enough, it is said."""
    log = mount(place, "size=10m")
    log.write_bytes(b"x\n")
    for day in range(1, 8):
        (place / f"app.log-2026010{day}T000000Z.gz").write_bytes(os.urandom(MB))
    found = cycle(asked(log, log_retention_days=100_000, min_free_percent=50))
    assert (found.objections, found.problems) == ([], [])
    left = [path.name[14:16] for path in generations(log)]
    assert left[:-1] == ["04", "05", "06", "07"], left
    filled(place, 2 * MB)
    aged(log)
    log.write_bytes(b"y\n")
    found = cycle(asked(log, log_retention_days=100_000, min_free_percent=90))
    assert any("wanted 90 percent" in said for said in found.problems), found.problems


def journal(place):
    """A real journald, which is told to keep less: what was won is what the files took."""
    for covered in ("/run", "/var/log"):
        subprocess.run(["mount", "-t", "tmpfs", "oqlog", covered], check=True)
    for needed in ("/run/systemd/journal", "/var/log/journal"):
        Path(needed).mkdir(parents=True)
    with (place / "said").open("wb") as said, subprocess.Popen([JOURNALD], stdout=said, stderr=said) as journald:
        try:
            until(Path("/run/systemd/journal/dev-log").exists, what="journald")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
                log.connect("/run/systemd/journal/dev-log")
                for number in range(5000):
                    log.send(b"<14>shop: %06d %s" % (number, os.urandom(500).hex().encode()))
            given = {"method": "journald", "max_total_mb": 9}
            until(lambda: begun(given)[0].before["journal"]["usage"] > 9 * MB, what="a large journal")
            found = cycle(given)
            assert (found.objections, found.problems) == ([], [])
            assert found.metrics["bytes_freed"] > 0, found.metrics
            assert found.metrics["journal_bytes"] <= 9 * MB
            assert not begun(given)[0].plan
        finally:
            journald.terminate()


if __name__ == "__main__":
    {
        "journal": journal,
        "packing": packing,
        "no_inode": no_inode,
        "copying": copying,
        "least_that_goes": least_that_goes,
    }[sys.argv[1]](Path(sys.argv[2]))
