"""What each engine's settings should be, from the server's own numbers and the memory and CPUs of its machine.

PostgreSQL follows PGTune's formulas. Each advice has its reason and the numbers that it stands on; `live` is set
without a restart, `restart` needs one, `person` is nothing that a program should decide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from opsqueue.facts.databases import Server
from opsqueue.operations.database.hand import Hand

_KB, _MB, _GB = 1 << 10, 1 << 20, 1 << 30
_NEAR = 0.25
"""Sizes that differ by less are left alone."""
_UNITS = {"B": 1, "kB": _KB, "8kB": 8 * _KB, "MB": _MB, "16MB": 16 * _MB, "GB": _GB}
_BYTES = {"innodb_buffer_pool_size", "tmp_table_size", "max_heap_table_size", "maxmemory"}
_MIN_WAL = {"web": 1024, "oltp": 2048, "dw": 4096, "desktop": 100, "mixed": 1024}
_MAX_WAL = {"web": 4096, "oltp": 8192, "dw": 16384, "desktop": 2048, "mixed": 4096}
_IO = {"hdd": 2, "ssd": 200, "san": 300, "nvme": 1000}
_HALVED = {"web": 1.0, "oltp": 1.0, "dw": 2.0, "mixed": 2.0, "desktop": 6.0}
_PARALLEL_FROM = 4
_VERSION_JIT, _VERSION_LZ4 = 120_000, 150_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting as the server has it."""

    value: str
    unit: str = ""
    how: str = "live"
    source: str = "other"

    @property
    def bytes(self) -> int:
        """A size in bytes."""
        return int(self.value) * _UNITS.get(self.unit, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What a setting is, and what it should be, both as the server writes it."""

    name: str
    now: str
    want: str
    how: str
    why: str
    evidence: Mapping[str, float | str] = field(default_factory=dict)
    unit: str = ""
    """What one of a plain number is, as PostgreSQL says it (8kB); of the others' sizes, bytes."""

    def shown(self, value: str) -> str:
        """A value as people read it: a size with its unit."""
        unit = self.unit or ("B" if self.name in _BYTES else "")
        if unit not in _UNITS:
            return f"{value}{unit}"
        return readable(int(value) * _UNITS[unit]) if value.isdigit() else value


def readable(size: int) -> str:
    """A size in bytes as PostgreSQL would write it, rounded to a tenth."""
    for unit in ("GB", "MB", "kB"):
        if size >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:.1f}".removesuffix(".0") + unit
    return f"{size}B" if size else "0"


def settings(server: Server | None) -> dict[str, Setting]:
    """The settings by name."""
    rows = [row for row in server.detail if row[0] == "setting" and len(row) > 5] if server else []  # noqa: PLR2004
    return {row[1]: Setting(value=row[2], unit=row[3], how=row[4], source=row[5]) for row in rows}


def numbers(server: Server) -> dict[str, float]:
    """The server's counters and the machine's size; what is no number is left out."""
    rows = [row for row in server.detail if row[0] == "number" and len(row) > 2]  # noqa: PLR2004
    found = {}
    for _, name, value, *_ in rows:
        try:
            found[name] = float(value)
        except ValueError:
            continue
    return found


def machine(hand: Hand) -> tuple[int, int]:
    """Bytes of memory and CPUs that belong to the server."""
    found, params = numbers(hand.server), hand.params
    memory = params.memory_mb * _MB or int(found.get("memory", 0))
    return memory, params.cpus or int(found.get("cpus", 1))


def advices(hand: Hand) -> list[Advice]:
    """What should be another value."""
    return sorted(_RULES[hand.server.engine](hand), key=lambda one: one.name)


# -- PostgreSQL -------------------------------------------------------------------------------------------


def _postgresql(hand: Hand) -> Iterator[Advice]:
    there, (memory, cpus) = settings(hand.server), machine(hand)
    known = numbers(hand.server)
    evidence: dict[str, float | str] = {"memory": memory, "cpus": cpus, "profile": hand.params.profile}
    for name, size, why in _pg_sizes(hand, memory, cpus):
        if name in there and abs(there[name].bytes - size) > _NEAR * size:
            unit = _UNITS.get(there[name].unit, 1)
            more: dict[str, float | str] = {
                one: known[one] for one in ("cache_hit_percent", "temp_bytes", "database_bytes") if one in known
            }
            yield _pg_advice(there[name], name, str(size // unit), why, {**evidence, **more})
    for name, want, why in _pg_values(hand, cpus):
        if name in there and not same(there[name].value, want):
            yield _pg_advice(there[name], name, want, why, evidence)


def _pg_advice(there: Setting, name: str, want: str, why: str, evidence: Mapping[str, float | str]) -> Advice:
    how = "person" if there.source == "command line" and there.how == "live" else there.how
    told = f"{why}; it stands on the server's command line" if how == "person" else why
    return Advice(name=name, now=there.value, want=want, how=how, why=told, evidence=evidence, unit=there.unit)


def _pg_sizes(hand: Hand, memory: int, cpus: int) -> Iterator[tuple[str, int, str]]:
    profile, desktop = hand.params.profile, hand.params.profile == "desktop"
    shared = memory // (16 if desktop else 4)
    yield "shared_buffers", shared, f"a {'sixteenth' if desktop else 'quarter'} of the memory"
    yield "effective_cache_size", memory // 4 if desktop else memory * 3 // 4, "what the system is likely to cache"
    upkeep = min(memory // (8 if profile == "dw" else 16), 8 * _GB)
    yield "maintenance_work_mem", upkeep, "index builds and vacuum, one at a time"
    yield "min_wal_size", _MIN_WAL[profile] * _MB, f"the WAL of profile {profile}"
    yield "max_wal_size", _MAX_WAL[profile] * _MB, f"the WAL of profile {profile}"
    wal = min(max(shared * 3 // 100, 32 * _KB), 16 * _MB)
    yield "wal_buffers", 16 * _MB if wal > 14 * _MB else wal, "3 % of shared_buffers, at most 16 MB"
    yield "work_mem", _work_mem(hand, memory - shared, memory, cpus), "for each sort, of all connections at once"


def _work_mem(hand: Hand, rest: int, memory: int, cpus: int) -> int:
    there = settings(hand.server)
    connections = int(there["max_connections"].value) if "max_connections" in there else 100
    workers = cpus if cpus >= _PARALLEL_FROM else 8
    size = rest / ((connections + workers) * 3) / _HALVED[hand.params.profile]
    data = numbers(hand.server).get("database_bytes", 0.0)
    size *= 1.3 if data < memory else 0.9 if data > 3 * memory else 1.0
    return max(int(size) // _KB * _KB, 4 * _MB)


def _pg_values(hand: Hand, cpus: int) -> Iterator[tuple[str, str, str]]:
    params, version = hand.params, int(hand.server.props.get("version", "0"))
    yield "checkpoint_completion_target", "0.9", "checkpoints are spread over their time"
    yield "default_statistics_target", "500" if params.profile == "dw" else "100", f"for profile {params.profile}"
    yield "random_page_cost", "4" if params.storage == "hdd" else "1.1", f"for {params.storage}"
    yield "effective_io_concurrency", str(_IO[params.storage]), f"for {params.storage}"
    if version >= _VERSION_JIT and params.profile in {"web", "oltp", "mixed"}:
        yield "jit", "off", "compiling costs more than short queries gain"
    if version >= _VERSION_LZ4:
        yield "wal_compression", "lz4", "less WAL for little CPU"
    if cpus >= _PARALLEL_FROM:
        half = math.ceil(cpus / 2)
        yield "max_worker_processes", str(max(cpus, 8)), "one for each CPU"
        yield "max_parallel_workers", str(cpus), "one for each CPU"
        yield "max_parallel_workers_per_gather", str(half if params.profile == "dw" else min(half, 4)), "half the CPUs"
        yield "max_parallel_maintenance_workers", str(min(half, 4)), "half the CPUs, at most 4"


def same(one: str, other: str) -> bool:
    """Whether two values mean the same."""
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-6)
    except ValueError:
        return one.lower() == other.lower()


# -- MySQL, MariaDB ---------------------------------------------------------------------------------------


def _mysql(hand: Hand) -> Iterator[Advice]:
    there, known, (memory, _) = settings(hand.server), numbers(hand.server), machine(hand)
    yield from _buffer_pool(there, known, memory)
    tables, disk = known.get("Created_tmp_tables", 0), known.get("Created_tmp_disk_tables", 0)
    if tables + disk >= 100 and disk > 0.25 * (tables + disk):  # noqa: PLR2004
        want = str(min(64 * _MB, max(16 * _MB, memory // 256)))
        for name in ("tmp_table_size", "max_heap_table_size"):
            if name in there and int(there[name].value) < int(want):
                why = "more than a quarter of the temporary tables went to the disk"
                yield _live(name, there, want, why, {"temporary_tables": tables + disk, "on_disk": disk})
    if there.get("slow_query_log", Setting(value="ON")).value == "OFF":
        yield _live("slow_query_log", there, "ON", "without it nobody knows what is slow", {})
    made, asked = known.get("Threads_created", 0), known.get("Connections", 0)
    cache = int(there["thread_cache_size"].value) if "thread_cache_size" in there else 64
    if asked >= 1000 and made > 0.1 * asked and cache < 64:  # noqa: PLR2004
        yield _live("thread_cache_size", there, "64", "threads are made anew", {"made": made, "connections": asked})
    most, used = int(there["max_connections"].value), known.get("Max_used_connections", 0)
    if used > 0.85 * most:
        why = "nearly all connections were used at once; a pool is often better than more of them"
        yield Advice(name="max_connections", now=str(most), want="", how="person", why=why, evidence={"used": used})
    if there.get("innodb_flush_log_at_trx_commit", Setting(value="1")).value != "1":
        yield Advice(
            name="innodb_flush_log_at_trx_commit", now=there["innodb_flush_log_at_trx_commit"].value, want="1",
            how="person", why="a crash loses committed transactions of the last second; 1 is safe and slower",
        )  # fmt: skip


def _live(name: str, there: Mapping[str, Setting], want: str, why: str, evidence: Mapping[str, float | str]) -> Advice:
    return Advice(name=name, now=there[name].value, want=want, how="live", why=why, evidence=evidence)


def _buffer_pool(there: Mapping[str, Setting], known: Mapping[str, float], memory: int) -> Iterator[Advice]:
    """As large as the data need, in whole chunks, and at most half of the memory: others live on the machine too."""
    chunk = int(there.get("innodb_buffer_pool_chunk_size", Setting(value="0")).value) or 128 * _MB
    data, now = known.get("data_bytes", 0), int(there["innodb_buffer_pool_size"].value)
    need = math.ceil(max(data * 1.25, 128 * _MB) / (128 * _MB)) * 128 * _MB
    want = min(need, memory // 2) // chunk * chunk
    read, asked = known.get("Innodb_buffer_pool_reads", 0), known.get("Innodb_buffer_pool_read_requests", 0)
    if want > now * (1 + _NEAR):
        evidence: dict[str, float | str] = {"data_bytes": data, "memory": memory, "reads": read, "requests": asked}
        yield _live("innodb_buffer_pool_size", there, str(want), "the data are larger than their cache", evidence)


# -- Redis, SQLite ----------------------------------------------------------------------------------------


def _redis(hand: Hand) -> Iterator[Advice]:
    there, known, (memory, _) = settings(hand.server), numbers(hand.server), machine(hand)
    lazy = "what is evicted, expired or overwritten is freed aside, and nobody waits for it"
    for name in ("lazyfree-lazy-eviction", "lazyfree-lazy-expire", "lazyfree-lazy-server-del"):
        if there.get(name, Setting(value="yes")).value == "no":
            yield _live(name, there, "yes", lazy, {})
    if there.get("latency-monitor-threshold", Setting(value="1")).value == "0":
        yield _live("latency-monitor-threshold", there, "100", "what takes 100 ms is remembered", {})
    ratio, used = known.get("mem_fragmentation_ratio", 1.0), known.get("used_memory", 0.0)
    if ratio > 1.5 and used > 100 * _MB and there.get("activedefrag", Setting(value="yes")).value == "no":  # noqa: PLR2004
        evidence: dict[str, float | str] = {"mem_fragmentation_ratio": ratio, "used_memory": used}
        yield _live("activedefrag", there, "yes", "memory is fragmented", evidence)
    if there.get("maxmemory", Setting(value="1")).value == "0":
        want = str(memory // 4 * 3)
        why = (
            "without a limit it grows until the system kills it; a limit evicts or refuses writes, so a person decides"
        )
        more: dict[str, float | str] = {"memory": memory, "used_memory": used}
        yield Advice(name="maxmemory", now="0", want=want, how="person", why=why, evidence=more)
    if known.get("overcommit", 1) == 0:
        why = "a snapshot forks, and may be refused while memory is half used (sysctl of the host)"
        yield Advice(name="vm.overcommit_memory", now="0", want="1", how="person", why=why)


def _sqlite(hand: Hand) -> Iterator[Advice]:
    there, known = settings(hand.server), numbers(hand.server)
    if there["journal_mode"].value == "delete":
        yield _live("journal_mode", there, "wal", "readers and a writer do not wait for each other", {})
    pages, free = known.get("page_count", 0), known.get("freelist_count", 0)
    if pages >= 1000 and free > 0.25 * pages:  # noqa: PLR2004
        why = "more than a quarter of the file is free; vacuum gives it back, with twice its room and all of its locks"
        yield Advice(
            name="vacuum", now="", want="", how="person", why=why, evidence={"pages": pages, "free_pages": free}
        )


_RULES = {"postgresql": _postgresql, "mysql": _mysql, "redis": _redis, "sqlite": _sqlite}
