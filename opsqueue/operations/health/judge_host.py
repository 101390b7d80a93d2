"""The judgement of checks that are asked on the host: processes, services, disks, memory, load, commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsqueue.operations.health.checks import (
    CommandCheck,
    DiskCheck,
    LoadCheck,
    MemoryCheck,
    ProcessCheck,
    ServiceCheck,
)
from opsqueue.operations.health.problem import Problems, above, cannot_tell, critical, warning


def process(check: ProcessCheck, answer: Mapping[str, Any]) -> Problems:
    """Enough, not too many, and none that nobody buried."""
    what = check.process or check.cmdline or check.pidfile
    if answer["count"] < check.min:
        yield critical("process_missing", f"{answer['count']} processes match {what}, wanted at least {check.min}")
    if check.max is not None and answer["count"] > check.max:
        yield critical("process_too_many", f"{answer['count']} processes match {what}, wanted at most {check.max}")
    if answer["zombies"]:
        yield warning("process_zombie", f"{answer['zombies']} of {what} are zombies: their parent does not reap them")


def service(check: ServiceCheck, answer: Mapping[str, Any]) -> Problems:
    """Known to its manager, and as it is wanted."""
    manager, detail = answer["manager"], answer["detail"]
    if not answer["known"]:
        yield critical("service_missing", f"{manager} has no usable {check.unit}: {detail}", "Look at the name.")
    elif check.expect_active and not (answer["active"] or answer["ended_well"]):
        yield critical("service_down", f"{check.unit} is not running: {detail}", f"Look at the log of {check.unit}.")
    elif not check.expect_active and answer["active"]:
        yield critical("service_running", f"{check.unit} runs and should not: {detail}")
    restarts = answer.get("restarts")
    if restarts is not None and restarts > check.max_restarts:
        yield warning(
            "service_restarting", f"{manager} started it anew {restarts} times, wanted at most {check.max_restarts}"
        )


def disk(check: DiskCheck, answer: Mapping[str, Any]) -> Problems:
    """Room, inodes, and that it can be written."""
    where = answer["mount"]
    if answer["percent"] is None:
        yield cannot_tell(f"{where} is no file system with a size")
    space, inodes = answer["percent"], answer["inode_percent"]
    yield from above("disk_usage_high", where, space, (check.warn_percent, check.crit_percent), "% full")
    limits = (check.warn_inode_percent, check.crit_inode_percent)
    yield from above("disk_inodes_high", f"the inode table of {where}", inodes, limits, "% full")
    if answer["read_only"] and not check.allow_read_only:
        yield critical(
            "disk_read_only", f"{where} is mounted read-only", "Look in the kernel log for errors of the disk."
        )
    if answer.get("written") not in {None, "ok"}:
        yield critical(
            "disk_not_writable",
            f"no file can be written in {check.path}: {answer['written'].removeprefix('no: ')}",
            "Look at quotas, rights and the kernel log.",
        )


def memory(check: MemoryCheck, answer: Mapping[str, Any]) -> Problems:
    """What is in use."""
    if answer.get("percent") is None:
        yield cannot_tell("the host does not tell its memory")
    yield from above(
        "memory_usage_high", "memory", answer.get("percent"), (check.warn_percent, check.crit_percent), "% used"
    )


def load(check: LoadCheck, answer: Mapping[str, Any]) -> Problems:
    """How many wait for each processor."""
    five, cpus = answer.get("five"), answer.get("cpus")
    if five is None or not cpus:
        yield cannot_tell("the host does not tell its load or its number of processors")
        return
    yield from above("load_high", "load per processor", five / cpus, (check.warn_per_cpu, check.crit_per_cpu))


def command(_check: CommandCheck, answer: Mapping[str, Any]) -> Problems:
    """What its exit code says."""
    code, said = answer["exit_code"], answer["summary"] or "said nothing"
    if code == 1:
        yield warning("command_warning", f"exit 1: {said}")
    elif code == 2:  # noqa: PLR2004 - the convention of monitoring plugins
        yield critical("command_critical", f"exit 2: {said}")
    elif code:
        yield cannot_tell(f"exit {code}: {said}")
