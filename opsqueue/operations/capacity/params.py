"""What can be asked of the capacity planning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from opsqueue.model.in_words import in_words
from opsqueue.model.kind import Params

Resource = Literal["disk", "inodes", "memory", "swap", "cpu"]
Percent = Annotated[float, Field(gt=0, le=100)]
Pattern = Annotated[str, Field(min_length=1, max_length=200)]
Path = Annotated[
    str, Field(pattern=r"^/[^\x00-\x1f]*$", max_length=1000), in_words("an absolute path without control characters")
]
Price = Annotated[float, Field(ge=0)]

DATED = 28
"""Days of history from which on a date is said."""


class Thresholds(Params):
    """Percent that must not be reached; what is not given is taken from `alert_thresholds`."""

    disk: Percent | None = None
    memory: Percent | None = None
    cpu: Percent | None = None
    inodes: Percent = 90.0
    swap: Percent = 80.0


class Prices(Params):
    """What a month costs, in one currency; without it advice is given in cores and GiB and no money is named."""

    currency: str = Field(min_length=1, max_length=20)
    """Written beside each amount."""
    cpu_core: Price | None = None
    """Of one core."""
    memory_gib: Price | None = None
    """Of one GiB of memory."""
    disk_gib: Price | None = None
    """Of one GiB of disk."""


class Retention(Params):
    """Data that is kept for another time than now."""

    directory: Path
    """One of `directories`, so that its size is known."""
    from_days: float = Field(gt=0)
    to_days: float = Field(gt=0)


class WhatIf(Params):
    """A change that is thought through, and not made."""

    name: str = Field(min_length=1, max_length=100)
    mount: Path | None = None
    """The file system that changes; none: CPU and memory."""
    growth: float = Field(default=1.0, ge=0, le=1000)
    """Multiplies the growth of a day."""
    load_pct: float = Field(default=0.0, ge=-100, le=10_000)
    """Percent more work: CPU, and memory as it is used today, grow by that."""
    add_gib: float = Field(default=0.0, ge=-1e9, le=1e9)
    """Data that comes (or goes) at once."""
    expand_gib: float = Field(default=0.0, ge=-1e9, le=1e9)
    """Room that comes (or goes)."""
    move_to: Path | None = None
    """The mount to which `move_gib` of data goes with its share of the growth; without `move_gib` all of it."""
    move_gib: float | None = Field(default=None, gt=0)
    """How much of it."""
    retention: Retention | None = None

    @model_validator(mode="after")
    def _sound(self) -> WhatIf:
        of_disk = [self.add_gib, self.expand_gib, self.move_to, self.move_gib, self.retention]
        if self.mount is None and any(of_disk):
            raise ValueError(f"what_if {self.name!r}: say the `mount` whose data or room changes")
        if self.mount is not None and self.load_pct:
            raise ValueError(f"what_if {self.name!r}: load_pct is about CPU and memory; leave `mount` away")
        if self.move_gib is not None and self.move_to is None:
            raise ValueError(f"what_if {self.name!r}: move_gib goes somewhere: say move_to")
        if self.move_to is not None and self.move_to == self.mount:
            raise ValueError(f"what_if {self.name!r}: move_to is the mount itself")
        return self


class CapacityPlanningParams(Params):
    """What is looked at, how far ahead, and from where on something is to be done."""

    resources: tuple[Resource, ...] = Field(default=("disk", "inodes", "memory", "swap", "cpu"), min_length=1)
    history_days: int = Field(default=90, ge=14, le=730)
    """How far back the daily values reach."""
    horizon_days: int = Field(default=90, ge=1, le=365)
    """How far ahead something is worth a finding."""
    lead_days: int = Field(default=30, ge=1, le=365)
    """How long it takes to get more: what may be full earlier is a warning."""
    min_history_days: int = Field(default=14, ge=7, le=365)
    """Days with a value without which nothing is forecast."""
    interval: float = Field(default=0.8, ge=0.5, le=0.99)
    """With which probability the range is meant to hold what comes."""
    threshold_pct: Thresholds = Thresholds()
    limits: Mapping[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict, max_length=50)
    """Other stored metrics, by name, with the value that they must not reach: connections, sizes of databases."""
    headroom_pct: float = Field(default=20.0, ge=0, le=500)
    """Percent on top of what is needed."""
    percentile: float = Field(default=95.0, ge=50, le=100)
    """By which use in bursts is judged."""
    cost_percentile: float = Field(default=99.5, ge=50, le=100)
    """By which cost advice is judged."""
    cost_advice: bool = True
    """Whether it is said what the host could do without."""
    prices: Prices | None = None
    what_if: tuple[WhatIf, ...] = Field(default=(), max_length=20)
    directories: tuple[Path, ...] = Field(default=(), max_length=50)
    """Whose sizes are measured (du), so that the next reports tell which of them grows."""
    exclude: tuple[Pattern, ...] = Field(default=(), max_length=100)
    """Mounts, or names of metrics, that are not looked at; patterns as in a shell."""
    mounts_include: tuple[Pattern, ...] = ()
    """When given, only these mounts, whatever they are."""
    timeout_s: int = Field(default=60, ge=1, le=3600)
    """Seconds for the questions to the host; `du` of large directories takes long."""
    use_sudo: bool = False
    """Ask LVM and `du` as root; LVM tells others nothing."""

    @model_validator(mode="after")
    def _sound(self) -> CapacityPlanningParams:
        names = [one.name for one in self.what_if]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"each what_if has a name of its own; {twice[0]!r} stands twice")
        for one in self.what_if:
            if one.retention and one.retention.directory not in self.directories:
                raise ValueError(f"what_if {one.name!r}: {one.retention.directory} is not among `directories`")
        return self
