"""The parameters of `performance_tuning`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from opsqueue.model.in_words import in_words
from opsqueue.model.kind import Params
from opsqueue.operations.tuning.profiles import PROFILES, mistaken, why_unsafe


def _or_number(text: Any) -> BeforeValidator:
    """Takes a whole number too: `8192` is as good as `"8192"`."""

    def as_text(value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    return BeforeValidator(as_text, json_schema_input_type=text | int)


PlainPath = Annotated[
    str,
    Field(max_length=1000, pattern=r"^((/[A-Za-z0-9@%+=:,._-]+)+)?$"),
    in_words("an absolute path, such as /var/tmp, without spaces and quotes, and no / at its end"),
]
Key = Annotated[
    str,
    Field(max_length=200, pattern=r"^[a-z0-9_-]+(\.[A-Za-z0-9_-]+)+$"),
    in_words("the name of a setting as sysctl has it, with dots, such as net.core.somaxconn"),
]
_Value = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_-]+( [A-Za-z0-9_-]+)*$"),
    in_words("a whole number, or numbers and words with one space between them"),
]
Value = Annotated[_Value, _or_number(_Value)]
Device = Annotated[
    str, Field(max_length=63, pattern=r"^[A-Za-z0-9_-]+$"), in_words("the name of a disk below /sys/block, such as sda")
]
Unit = Annotated[
    str,
    Field(max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@:-]*\.(service|slice|scope)$"),
    in_words("a unit with its ending .service, .slice or .scope, such as nginx.service"),
]
Domain = Annotated[
    str, Field(max_length=63, pattern=r"^(\*|@?[A-Za-z_][A-Za-z0-9_.-]*)$"), in_words("a user, @group, or *")
]
_Amount = Annotated[
    str,
    Field(pattern=r"^(\d{1,15}[KMGT]?|infinity)$"),
    in_words("a number of bytes, one with K, M, G or T, or infinity"),
]
Amount = Annotated[_Amount, _or_number(_Amount)]
_Most = Annotated[str, Field(pattern=r"^(-?\d{1,15}|unlimited)$"), in_words("a whole number, or unlimited")]
Most = Annotated[_Most, _or_number(_Most)]
Quota = Annotated[str, Field(pattern=r"^\d{1,6}%$"), in_words("a share of one CPU, such as 150%")]
_Tasks = Annotated[str, Field(pattern=r"^(\d{1,9}|infinity)$"), in_words("a whole number, or infinity")]
Tasks = Annotated[_Tasks, _or_number(_Tasks)]
_Files = Annotated[str, Field(pattern=r"^\d{1,10}$"), in_words("a whole number")]
Files = Annotated[_Files, _or_number(_Files)]
Label = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$"),
    in_words("a name of at most 40 small letters, digits, _ and -, the first a letter"),
]
Address = Annotated[
    str,
    Field(max_length=500, pattern=r"^(https?://[^\s@]+|[^\s/@]+:\d{1,5})?$"),
    in_words("an address that begins with http:// or https://, or HOST:PORT"),
]
Word = Annotated[str, Field(min_length=1, max_length=1000)]


class Limit(Params):
    """A line of limits.conf; it holds for sessions that begin later."""

    domain: Domain
    """A user, `@group`, or `*`."""
    item: Literal["nofile", "nproc", "memlock", "core", "stack", "as", "rtprio", "nice"]
    type: Literal["soft", "hard", "-"] = "-"
    value: Most


class UnitResources(Params):
    """What a unit of systemd may take; what is left out stays as it is."""

    CPUQuota: Quota = ""
    CPUWeight: int | None = Field(default=None, ge=1, le=10_000)
    MemoryMax: Amount = ""
    MemoryHigh: Amount = ""
    IOWeight: int | None = Field(default=None, ge=1, le=10_000)
    TasksMax: Tasks = ""
    LimitNOFILE: Files = ""

    @property
    def given(self) -> dict[str, str]:
        """The properties that are set, by their names in systemd."""
        return {name: str(value) for name, value in self.model_dump().items() if value not in {"", None}}


class BlockDevice(Params):
    """How a disk queues what is asked of it."""

    scheduler: Literal["", "none", "mq-deadline", "kyber", "bfq"] = ""
    nr_requests: int | None = Field(default=None, ge=4, le=10_000)
    read_ahead_kb: int | None = Field(default=None, ge=0, le=65_536)


class Benchmark(Params):
    """One measurement; its number is compared before and after."""

    name: Label = ""
    """Empty: the name of the tool."""
    tool: Literal["sysbench_cpu", "sysbench_memory", "sysbench_threads", "fio_randread", "fio_randwrite", "command"]
    command: tuple[Word, ...] = Field(default=(), max_length=50)
    """For `command`: a program with its arguments; the last word that it prints is the number."""
    better: Literal["higher", "lower"] = "higher"
    """For `command`; the other tools measure what is better when it is higher."""
    threads: int = Field(default=1, ge=1, le=1024)
    events: int = Field(default=0, ge=0, le=100_000_000)
    """sysbench: so many (of memory: MiB) instead of `benchmark_seconds`; 0: by time."""
    size_mb: int = Field(default=256, ge=1, le=1_000_000)
    """fio: the file that is read or written, below `benchmark_dir`."""

    @property
    def label(self) -> str:
        """Its name in the report."""
        return self.name or self.tool

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.tool == "command") != bool(self.command):
            raise ValueError("command belongs to tool=command, and is needed there")
        return self


class PerformanceTuningParams(Params):
    """What is set, how it is measured, and when it is kept."""

    task: Literal["analyse", "apply", "benchmark", "rollback"] = "analyse"
    """`analyse` changes nothing; `rollback` leads back what the last `apply` of this profile set."""
    profile: Literal["custom", "web", "database", "latency", "throughput"] = "custom"
    """Starting points for a kind of host; what is given here goes before it."""
    sysctl: dict[Key, Value] = Field(default_factory=dict, max_length=100)
    """Values of the kernel by name, texts or whole numbers; what each may be stands on the page of this type."""
    limits: tuple[Limit, ...] = Field(default=(), max_length=100)
    unit_resources: dict[Unit, UnitResources] = Field(default_factory=dict, max_length=50)
    block: dict[Device, BlockDevice] = Field(default_factory=dict, max_length=50)
    transparent_hugepages: Literal["", "always", "madvise", "never"] = ""
    persist: bool = True
    """Write files too, so that it holds after a reboot."""
    benchmarks: tuple[Benchmark, ...] = Field(default=(), max_length=10)
    """Measured with the old and the new values in turn."""
    pairs: int = Field(default=5, ge=5, le=50)
    """How often each benchmark runs with the old and with the new values."""
    benchmark_seconds: int = Field(default=10, ge=1, le=300)
    """Length of one run; what a command may take. With more than one benchmark ask for a longer timeout."""
    benchmark_dir: PlainPath = "/var/tmp"  # noqa: S108 - a directory that nobody else can enter is made there
    """Where fio makes its file, in a directory of its own that nobody else can enter."""
    accept_if: Literal["not_worse", "improved"] = "not_worse"
    """`improved` leads back also what made no difference, or none that could be told."""
    max_cv: float = Field(default=0.05, gt=0, le=1)
    """Standard deviation by mean; benchmarks that vary more are inconclusive, never improved."""
    min_effect_percent: float = Field(default=3.0, ge=0, le=100)
    """A smaller difference does not count, however certain."""
    max_busy_percent: float = Field(default=10.0, gt=0, le=100)
    """Where processes waited for a CPU for a larger share of the last minute nothing is measured (pressure, avg60)."""
    allow_load: bool = False
    """Measure on a busy host all the same."""
    allow_unsafe: bool = False
    """Set what is not among the known values, or outside of their bounds."""
    allow_managed: bool = False
    """Go on although tuned runs, or another file sets the same to something else."""
    confirm_within_seconds: int = Field(default=120, ge=2, le=3600)
    """The host leads everything back by itself when the worker does not come back so long after the measuring."""
    health_check: Address = ""
    """A URL, or HOST:PORT, that has to answer afterwards; asked by the worker."""
    sample_seconds: int = Field(default=5, ge=0, le=60)
    """How long the host is watched for the analysis, each time it is looked at; 0: not at all."""
    sysctl_dir: PlainPath = "/etc/sysctl.d"
    limits_dir: PlainPath = "/etc/security/limits.d"
    systemd_dir: PlainPath = "/etc/systemd/system"
    udev_dir: PlainPath = "/etc/udev/rules.d"
    tmpfiles_dir: PlainPath = "/etc/tmpfiles.d"
    state_dir: PlainPath = "/var/lib/opsqueue-tuning"
    """Where the host keeps the way back and the last report; root's alone."""
    sudo: bool = True
    """Act as root; false: as the worker's own user."""

    @property
    def values(self) -> dict[str, str]:
        """All that is to be set with sysctl."""
        return {**PROFILES[self.profile], **self.sysctl}

    @property
    def given(self) -> bool:
        """Whether anything is to be set."""
        more = (self.limits, self.unit_resources, self.block, self.transparent_hugepages)
        return bool(self.values) or any(more)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("sysctl_dir", "limits_dir", "systemd_dir", "udev_dir", "tmpfiles_dir", "state_dir"):
            path = getattr(self, name)
            if not path or re.search(r"/\.\.?(/|$)", path):
                raise ValueError(f"{name} is a directory without . and .. in its path, not {path!r}")
        if self.task == "apply" and not self.given:
            raise ValueError("apply wants a profile other than custom, or sysctl, limits, unit_resources, block, …")
        if self.task == "benchmark" and not self.benchmarks:
            raise ValueError("benchmark wants benchmarks")
        if self.accept_if == "improved" and not self.benchmarks:
            raise ValueError("accept_if=improved wants benchmarks")
        labels = [one.label for one in self.benchmarks]
        if len(set(labels)) != len(labels):
            raise ValueError("each benchmark has a name of its own")
        if self.limits and not self.persist:
            raise ValueError("limits are a file; they cannot be set with persist=false")
        self._safe()
        return self

    def _safe(self) -> None:
        bad = [why for key, value in self.values.items() if (why := why_unsafe(key, value))]
        if bad and not self.allow_unsafe:
            slip = any(mistaken(*pair) for pair in self.values.items())
            raise ValueError("; ".join(bad) + ("" if slip else "; allow_unsafe=true sets it all the same"))
        for whole, share in (
            ("vm.dirty_bytes", "vm.dirty_ratio"),
            ("vm.dirty_background_bytes", "vm.dirty_background_ratio"),
        ):
            if whole in self.values and share in self.values:
                raise ValueError(f"{whole} and {share} are two words for one setting; give one of them")
