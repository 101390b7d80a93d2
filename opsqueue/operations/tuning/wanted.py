"""What is wanted of a host: values of the kernel by their paths, and the files that keep them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import takewhile

from opsqueue.operations.tuning.params import PerformanceTuningParams

THP = "/sys/kernel/mm/transparent_hugepage/enabled"
SHOWN = {"CPUQuota": "CPUQuotaPerSecUSec"}
"""Properties that `systemctl show` has under another name."""


def path_of(key: str) -> str:
    """Where the kernel has a setting of sysctl."""
    return f"/proc/sys/{key.replace('.', '/')}"


def knobs_of(params: PerformanceTuningParams) -> dict[str, tuple[str, str]]:
    """Path in the kernel to name and value, in the order in which they are set."""
    found = {path_of(key): (key, value) for key, value in params.values.items()}
    for device, block in params.block.items():
        for attribute, value in block.model_dump().items():
            if value not in {"", None}:
                found[f"/sys/block/{device}/queue/{attribute}"] = (f"{device} {attribute}", str(value))
    if params.transparent_hugepages:
        found[THP] = ("transparent_hugepages", params.transparent_hugepages)
    return found


def files_of(params: PerformanceTuningParams) -> dict[str, str]:
    """The files that keep it, with their content."""
    name = f"60-opsqueue-{params.profile}"
    units = params.systemd_dir if params.persist else "/run/systemd/system"
    lines: dict[str, list[str]] = {
        f"{units}/{unit}.d/{name}.conf": [
            "[Service]" if unit.endswith(".service") else _section(unit),
            *_set(resources.given),
        ]
        for unit, resources in params.unit_resources.items()
        if resources.given
    }
    if params.persist:
        block = [
            (device, key, value) for device, one in params.block.items() for key, value in one.model_dump().items()
        ]
        lines |= {
            f"{params.sysctl_dir}/{name}.conf": [f"{key} = {value}" for key, value in params.values.items()],
            f"{params.limits_dir}/{name}.conf": [f"{x.domain} {x.type} {x.item} {x.value}" for x in params.limits],
            f"{params.udev_dir}/{name}.rules": [_rule(*row) for row in block if row[2] not in {"", None}],
            f"{params.tmpfiles_dir}/{name}.conf": _thp_line(params.transparent_hugepages),
        }
    head = f"# Written by opsqueue: performance_tuning, profile {params.profile}. Undone by its task rollback.\n"
    return {path: head + "".join(f"{line}\n" for line in rows) for path, rows in lines.items() if rows}


def _section(unit: str) -> str:
    return "[Slice]" if unit.endswith(".slice") else "[Scope]"


def _set(given: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in given.items()]


def _rule(device: str, key: str, value: object) -> str:
    return f'ACTION=="add|change", SUBSYSTEM=="block", KERNEL=="{device}", ATTR{{queue/{key}}}="{value}"'


def _thp_line(value: str) -> list[str]:
    return [f"w {THP} - - - - {value}"] if value else []


def stems(content: str) -> set[str]:
    """What a file of ours sets, without the values."""
    rows = [line for line in content.splitlines() if line.strip() and line[0] not in "#["]
    return {(line.rsplit("=", 1)[0] if "=" in line else line.rsplit(None, 1)[0]).strip() for line in rows}


_SPAN = re.compile(r"(\d+(?:\.\d+)?)(min|ms|us|s|h)")
_SPAN_MOST = 100
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_TIMES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def same_resource(name: str, wanted: str, shown: str) -> bool:
    """Whether what `systemctl show` says is what was wanted."""
    if name == "CPUQuota" and len(shown) <= _SPAN_MOST:
        total = sum(float(number) * _SECONDS[unit] for number, unit in _SPAN.findall(shown))
        return bool(_SPAN.match(shown)) and abs(total * 100 - float(wanted[:-1])) < 0.01  # noqa: PLR2004
    amount = "".join(takewhile(str.isdigit, wanted))
    number = int(amount) * _TIMES.get(wanted[len(amount) :], 1) if amount else None
    return shown == (str(number) if number is not None else wanted)
