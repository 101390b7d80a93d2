"""The mount table of a host, and what `stat` or `df` said of it."""

from __future__ import annotations

import pytest
from procfs_said import FIRST, MOUNTS, parsed, said

TOLD = {
    "total": 4096000, "used": 600 * 4096, "available": 300 * 4096, "percent": pytest.approx(66.667, abs=0.001),
    "inodes_total": 500, "inodes_percent": 80.0,
}  # fmt: skip


def _mounts(text, errors="", **options):
    found = parsed(text, errors, subjects=["disk"], **options)["disk"]
    return {row["mount"]: row for row in found["mounts"]}


def test_one_row_for_each_device_and_a_dead_server_is_unknown():
    found = _mounts(said())
    assert list(found) == ["/", "/data one", "/mnt/filer"]
    assert found["/"] == {"mount": "/", "device": "/dev/sda1", "fstype": "ext4"} | TOLD
    assert found["/data one"] == {
        "mount": "/data one", "device": "/dev/sdb1", "fstype": "xfs", "total": 5120, "used": 2560, "available": 2560,
        "percent": 50.0, "inodes_total": None, "inodes_percent": None,
    }  # fmt: skip
    assert found["/mnt/filer"] == {
        "mount": "/mnt/filer", "device": "filer:/vol", "fstype": "nfs4", "unknown": "no answer within 3 s",
    }  # fmt: skip


def test_patterns_choose_among_what_the_script_told():
    assert list(_mounts(said(), mounts_include=["/srv/[ab]ind"])) == ["/srv/bind"]
    assert list(_mounts(said(), mounts_exclude=["/mnt*"], fstypes_exclude=["xfs"])) == ["/"]


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ("stat: cannot read file system information for '/': Permission denied\n", "Permission denied"),
        ("x\nstat: can't read file system information for '/': Stale file handle\ny", "Stale file handle"),
        ("df: /: Input/output error", "Input/output error"),
        ("stat: cannot read file system information for '/other': Permission denied", "no answer within 3 s"),
    ],
)
def test_why_a_mount_is_not_known(errors, reason):
    assert _mounts(said(last={"@stat": None}), errors)["/"]["unknown"] == reason


def test_why_a_mount_that_was_asked_by_itself_is_not_known():
    text = said(last={"@later": "6 stat: cannot read file system information for '/mnt/filer': Permission denied"})
    assert _mounts(text)["/mnt/filer"]["unknown"] == "Permission denied"


def test_where_there_is_no_stat_df_is_read():
    rows = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 4000 2400 1200 67% /\nfoo"
    found = _mounts(said(last={"@stat": None, "@df": rows}), "sh: stat: not found")["/"]
    assert found == {"mount": "/", "device": "/dev/sda1", "fstype": "ext4"} | TOLD | {
        "inodes_total": None, "inodes_percent": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("number", "partitions", "device"),
    [("8:1", "8 1 99 sda1", "/dev/sda1"), ("0:9", "8 1 99 sda1", "/dev/root"), ("8:1", None, "/dev/root")],
)
def test_the_device_behind_dev_root(number, partitions, device):
    mountinfo = (
        f"22 1 0:1 / / rw - rootfs rootfs rw\n23 1 {number} / / rw - ext4 /dev/root rw\n24 1 9:9 / /x rw - ext4 b rw"
    )
    last = {"/proc/self/mountinfo": mountinfo, "/proc/partitions": partitions}
    assert _mounts(said(first={"/proc/self/mounts": "/dev/root / ext4 rw 0 0"}, last=last))["/"]["device"] == device


def test_escapes_of_the_mount_table_are_undone_once():
    table = "\\040a\\134040 /x\\012y\\011z\\134011 ext4 rw 0 0"
    found = _mounts(said(first={"/proc/self/mounts": table}, last={"@later": "1 512 10 5 5 0 0"}))
    assert [(row["device"], row["mount"], row["percent"]) for row in found.values()] == [
        (" a\\040", "/x\ny\tz\\011", 50.0),
    ]  # fmt: skip


def test_the_top_one_of_two_mounts_in_one_place_is_told():
    table = f"{MOUNTS}\n/dev/sdc1 /data\\040one ext4 rw 0 0"
    found = _mounts(said(first={"/proc/self/mounts": table}, last={"@later": "5 512 10 5 5 0 0\n8 512 10 5 5 0 0"}))
    assert found["/data one"]["total"] == 5120


def test_zfs_stands_on_a_device_and_no_device_is_none():
    table = "pool/data /data zfs rw 0 0\nnone /none ext4 rw 0 0\n/dev/sdz /z strange rw 0 0"
    assert list(_mounts(said(first={"/proc/self/mounts": table}))) == ["/data"]


def test_without_a_mount_table_disks_are_unknown():
    for missing in ("/proc/self/mounts", "/proc/filesystems"):
        found = parsed(said(first={missing: None}), subjects=["disk"])["disk"]
        assert f"did not tell {missing}" in found["unknown"]
    assert FIRST["/proc/self/mounts"] == MOUNTS
