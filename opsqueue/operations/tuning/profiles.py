"""Named profiles, and which settings of the kernel may be tuned to what.

A profile holds starting points for a kind of host, not truths: they are kept where a benchmark of that host says that
they are not worse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from opsqueue.model.misspelt import nearest
from opsqueue.telemetry import counted

PROFILES: Mapping[str, Mapping[str, str]] = {
    "custom": {},
    "web": {
        "net.core.somaxconn": "4096",
        "net.ipv4.tcp_max_syn_backlog": "8192",
        "net.ipv4.ip_local_port_range": "10240 65535",
        "net.ipv4.tcp_fin_timeout": "30",
        "net.ipv4.tcp_slow_start_after_idle": "0",
    },
    "database": {
        "vm.swappiness": "10",
        "vm.dirty_background_ratio": "5",
        "vm.dirty_ratio": "15",
    },
    "latency": {
        "vm.swappiness": "10",
        "vm.dirty_background_ratio": "3",
        "vm.dirty_ratio": "10",
        "net.ipv4.tcp_slow_start_after_idle": "0",
    },
    "throughput": {
        "vm.dirty_background_ratio": "10",
        "vm.dirty_ratio": "40",
        "net.ipv4.tcp_rmem": "4096 131072 16777216",
        "net.ipv4.tcp_wmem": "4096 16384 16777216",
    },
}

BOUNDS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "vm.swappiness": ((0, 200),),
    "vm.dirty_ratio": ((5, 60),),
    "vm.dirty_background_ratio": ((1, 30),),
    "vm.dirty_bytes": ((8_388_608, 17_179_869_184),),
    "vm.dirty_background_bytes": ((4_194_304, 8_589_934_592),),
    "vm.dirty_expire_centisecs": ((100, 36_000),),
    "vm.dirty_writeback_centisecs": ((100, 36_000),),
    "vm.vfs_cache_pressure": ((10, 500),),
    "vm.min_free_kbytes": ((1_024, 16_777_216),),
    "vm.max_map_count": ((65_530, 2_147_483_647),),
    "vm.nr_hugepages": ((0, 1_048_576),),
    "vm.overcommit_memory": ((0, 1),),
    "fs.file-max": ((65_536, 9_223_372_036_854_775_807),),
    "fs.nr_open": ((65_536, 2_147_483_584),),
    "fs.aio-max-nr": ((65_536, 16_777_216),),
    "fs.inotify.max_user_watches": ((8_192, 16_777_216),),
    "fs.inotify.max_user_instances": ((128, 65_536),),
    "kernel.pid_max": ((32_768, 4_194_304),),
    "kernel.threads-max": ((8_192, 4_194_304),),
    "kernel.sched_autogroup_enabled": ((0, 1),),
    "net.core.somaxconn": ((128, 65_535),),
    "net.core.netdev_max_backlog": ((300, 300_000),),
    "net.core.rmem_max": ((65_536, 268_435_456),),
    "net.core.wmem_max": ((65_536, 268_435_456),),
    "net.core.rmem_default": ((65_536, 67_108_864),),
    "net.core.wmem_default": ((65_536, 67_108_864),),
    "net.ipv4.tcp_max_syn_backlog": ((128, 1_048_576),),
    "net.ipv4.tcp_fin_timeout": ((10, 120),),
    "net.ipv4.tcp_keepalive_time": ((30, 14_400),),
    "net.ipv4.tcp_keepalive_intvl": ((5, 600),),
    "net.ipv4.tcp_keepalive_probes": ((2, 30),),
    "net.ipv4.tcp_slow_start_after_idle": ((0, 1),),
    "net.ipv4.tcp_tw_reuse": ((0, 2),),
    "net.ipv4.tcp_mtu_probing": ((0, 2),),
    "net.ipv4.tcp_fastopen": ((0, 3),),
    "net.ipv4.tcp_notsent_lowat": ((4_096, 4_294_967_295),),
    "net.ipv4.ip_local_port_range": ((1_024, 65_535), (1_024, 65_535)),
    "net.ipv4.tcp_rmem": ((4_096, 65_536), (4_096, 67_108_864), (65_536, 268_435_456)),
    "net.ipv4.tcp_wmem": ((4_096, 65_536), (4_096, 67_108_864), (65_536, 268_435_456)),
    "net.netfilter.nf_conntrack_max": ((16_384, 16_777_216),),
}
"""Least and most of each number of a value."""
WORDS: Mapping[str, frozenset[str]] = {
    "net.ipv4.tcp_congestion_control": frozenset({"cubic", "bbr", "reno", "dctcp"}),
    "net.core.default_qdisc": frozenset({"fq", "fq_codel", "pfifo_fast", "cake"}),
}
_ORDERED = {"net.ipv4.ip_local_port_range", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
_NUMBERS = re.compile(r"\d{1,19}( \d{1,19})*")


def why_unsafe(key: str, value: str) -> str:
    """Why this value is not set without `allow_unsafe`; empty where it may be."""
    if key in WORDS:
        return "" if value in WORDS[key] else f"{key} is one of {', '.join(sorted(WORDS[key]))}, not {value}"
    bounds = BOUNDS.get(key)
    if bounds is None:
        return f"{key} is not among the settings that are tuned here{_meant(key)}"
    if not _are_numbers(value, len(bounds)):
        return f"{key} wants {counted(len(bounds), 'whole number')}, not {value!r}"
    return _why_outside(key, value, bounds)


def mistaken(key: str, value: str) -> bool:
    """Whether it is a slip and no wish: a name that is spelt wrong, or no number where numbers are wanted."""
    bounds = BOUNDS.get(key)
    if bounds is None:
        return key not in WORDS and bool(_meant(key))
    return not _are_numbers(value, len(bounds))


def _meant(key: str) -> str:
    return nearest(key, (*BOUNDS, *WORDS), cutoff=0.8)


def _are_numbers(value: str, count: int) -> bool:
    return bool(_NUMBERS.fullmatch(value)) and len(value.split()) == count


def _why_outside(key: str, value: str, bounds: tuple[tuple[int, int], ...]) -> str:
    numbers = [int(word) for word in value.split()]
    for number, (least, most) in zip(numbers, bounds, strict=True):
        if not least <= number <= most:
            return f"{key}={value} is outside of {least} to {most}"
    if key in _ORDERED and numbers != sorted(set(numbers)):
        return f"the numbers of {key} have to grow, and {value} do not"
    return ""
