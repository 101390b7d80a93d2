"""What the script printed on a host, to be read by the tests; made of parts, so that each can be another one."""

from __future__ import annotations

from opsqueue.connectors.procfs import reading_of
from opsqueue.model.plan import Result

MEMINFO = "MemTotal: 4000000 kB\nMemFree: 500000 kB\nMemAvailable: 3000000 kB\nBuffers: 100000 kB\nCached: 900000 kB\n\
SwapTotal: 1000 kB\nSwapFree: 250 kB"

NETWORK = """\
Inter-|   Receive                                                |  Transmit
 face |bytes  packets errs drop fifo frame compressed multicast|bytes  packets errs drop fifo colls carrier compressed
    lo: 10 1 0 0 0 0 0 0 10 1 0 0 0 0 0 0
  eth0: {received} 100 1 0 0 0 0 0 3000 100 0 {dropped} 0 0 0 0
wg-é.7@x: 5 5 0 0 0 0 0 0 5 5 0 0 0 0 0 0"""

DISKSTATS = """\
   7       0 loop0 9 0 9 0 0 0 0 0 0 0 0
   8       0 sda {reads} 0 {sectors} 0 50 0 400 0 0 {busy} 900 0 0 0 0 7 1
   8       1 sda1 100 0 2000 0 50 0 400 0 0 500 900
 104       0 cciss/c0d0 1 0 8 0 1 0 8 0 0 1 1"""

MOUNTS = """\
proc /proc proc rw,relatime 0 0
/dev/sda1 / ext4 rw,relatime 0 0
/dev/sda1 /srv/bind ext4 rw,relatime 0 0
tmpfs /run tmpfs rw 0 0
/dev/sdb1 /data\\040one xfs rw 0 0
filer:/vol /mnt/filer nfs4 rw 0 0
/dev/sr0 /cd iso9660 ro 0 0"""

FIRST = {
    "@disk": "/sys/block/sda/device\n/sys/block/cciss!c0d0/device",
    "@clock": "99.90",
    "@time": "1700000000.250000000",
    "/proc/self/cgroup": "0::/a:b/c",
    "/sys/fs/cgroup/a:b/c/memory.max": "max",
    "/sys/fs/cgroup/a:b/c/memory.current": "2097152",
    "/sys/fs/cgroup/a:b/c/memory.stat": "inactive_file 1048576",
    "/sys/fs/cgroup/a:b/memory.max": "4194304",
    "/sys/fs/cgroup/a:b/cpu.max": "150000 100000",
    "@first": "100.00",
    "@cpu": "cpu  1000 0 500 8000 100 0 0 0 70 0",
    "/proc/net/dev": NETWORK.format(received=1000, dropped=0),
    "/proc/diskstats": DISKSTATS.format(reads=100, sectors=2000, busy=500),
    "/proc/meminfo": MEMINFO,
    "/proc/loadavg": "1.50 0.75 0.25 3/1542 15726",
    "/sys/devices/system/cpu/online": "0-1,4",
    "/proc/stat": "cpu  1 1 1 1\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nctxt 5\nbtime 1699999900\nsoftirq 1 2",
    "/proc/sys/kernel/hostname": "web-1",
    "/proc/sys/kernel/osrelease": "6.1.0-18-amd64",
    "/etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian \\"12\\" (bookworm)"\nID=debian',
    "/proc/sys/kernel/arch": "x86_64",
    "/proc/pressure/cpu": "some avg10=1.50 avg60=0.20 avg300=0.01 total=123",
    "/proc/sys/fs/file-nr": "100\t0\t1000",
    "/proc/filesystems": "nodev\tproc\nnodev\ttmpfs\nnodev\tnfs4\n\text4\n\txfs\n\tiso9660",
    "/proc/self/mounts": MOUNTS,
}

TASKS = """\
@tasks:4
1/stat:1 (systemd) S 0 1 1 0 -1 4194560 100 0 0 0 {one} 6 0 0 20 0 1 0 12 8888888 200 184467 1 1 0 0 0
20/stat:20 (a) R 1 2) S 1 20 20 0 -1 4194560 100 0 0 0 30 10 0 0 20 0 1 0 {born} 8888888 200 184467 1 1 0 0 0
30/stat:30 (kworker/u8:2-events_unbound) D 2 0 0 0 -1 69238880 0 0 0 0 0 40 0 0 20 0 1 0 33 0 0 184467 0 0 0 0
40/stat:40 (x
40/stat:@end:1) Z 1 40 40 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 40 0 0 184467 0 0 0 0
"""

OWNERS = """\
1/status:Uid:\t0\t0\t0\t0
1/status:VmRSS:\t   9000 kB
20/status:Uid:\t1000\t0\t0\t0
20/status:VmRSS:\t     77 kB
30/status:Uid:\t0\t0\t0\t0
40/status:Uid:\t4711\t0\t0\t0
"""

SECOND = {
    "@second": "102.00",
    "@cpu": "cpu  1100 0 550 8040 110 0 0 0 99 0",
    "/proc/net/dev": NETWORK.format(received=3000, dropped=0),
    "/proc/diskstats": DISKSTATS.format(reads=140, sectors=2400, busy=1500),
}

LAST = {
    "/proc/self/mountinfo": None,
    "/proc/partitions": None,
    "@stat": "4096 1000 400 300 500 100 /\n4096 1000 400 300 500 100 /srv/bind",
    "@later": "5 512 10 5 5 0 0\n6 ",
    "@user": "0 root\n1000 amy",
    "@end": "102.10",
}


def said(*, first=None, second=None, last=None, tasks=True, between=()):
    """The whole output; a part that is `None` is left out. Between: what is other than in the second sample."""
    one, two, three = FIRST | (first or {}), SECOND | (second or {}), LAST | (last or {})
    out = [_lines(one), "@ok:\n"]
    if tasks:
        out += [TASKS.format(one=5, born=22)]
    for one in between:
        label = {"@between": one["@between"]}
        rest = {name: text for name, text in (SECOND | one).items() if name not in {"@between", "@second"}}
        out += [_lines(label | rest), "@ok:\n"]
    out += [_lines(two), "@ok:\n"]
    if tasks:
        out += [TASKS.format(one=25, born=2222), OWNERS, "@ok:\n"]
    return "".join([*out, _lines(three)])


def _lines(parts):
    return "".join(
        f"{label}:{line}\n" for label, text in parts.items() if text is not None for line in text.split("\n")
    )


def parsed(text, errors="", **options):
    """The reading that this output gives."""
    between = options.pop("between", None)
    return reading_of(Result(exit_code=0, stdout=text, stderr=errors), options, between=between)
