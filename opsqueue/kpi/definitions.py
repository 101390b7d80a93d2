"""Every figure there is, with the sentence that says what it means; it is printed beside each number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Definition:
    """What a figure is."""

    name: str
    group: str
    label: str
    unit: str
    """percent, s, ms, count, days, ratio, per hour."""
    meaning: str
    sample: str
    """What `n` counts."""


_LOOKS, _RESTORED = "looks at hosts", "incidents restored in the period"
_AVAILABILITY = (
    (
        "availability_raw",
        "Availability, raw",
        "percent",
        (
            "up time / (up + down time) of all hosts together, each second of each host counting alike; unknown time "
            "is left out"
        ),
        _LOOKS,
    ),
    (
        "availability",
        "Availability without planned maintenance",
        "percent",
        "up time / (up + down time) of all hosts together, outside the maintenance windows of each host",
        _LOOKS,
    ),
    (
        "unknown_time",
        "Unknown time",
        "percent",
        "the part of the time of all hosts in which the last look was older than three intervals",
        _LOOKS,
    ),
    (
        "error_budget",
        "Error budget",
        "s",
        (
            "how long one host may be down in the whole period to keep the service level objective: 99.9 % of 30 days "
            "is 43.2 min"
        ),
        "hosts",
    ),
    (
        "error_budget_used",
        "Error budget used",
        "percent",
        "down time outside planned maintenance / (error budget x hosts)",
        "hosts",
    ),
    (
        "burn_rate",
        "Burn rate",
        "ratio",
        "(100 % - availability) / (100 % - objective): at 1 the budget lasts exactly for the period",
        _LOOKS,
    ),
)
_INCIDENTS = (
    (
        "incidents",
        "Incidents",
        "count",
        (
            "times without a good answer that began in the period; those of one host that overlap, or follow within "
            "10 min, are one"
        ),
        _LOOKS,
    ),
    ("incidents_open", "Open incidents", "count", "those that had not ended at the end of the period", _LOOKS),
    (
        "mttr",
        "MTTR, mean",
        "s",
        "from the first failing sample to the first good one; open incidents are left out",
        _RESTORED,
    ),
    (
        "mttr_median",
        "MTTR, median",
        "s",
        "half of them took no longer from the first failing sample to the first good one",
        _RESTORED,
    ),
    (
        "mttr_p90",
        "MTTR, p90",
        "s",
        "nine of ten took no longer from the first failing sample to the first good one",
        _RESTORED,
    ),
    (
        "mttd",
        "MTTD, mean",
        "s",
        "from the first failing sample until an alert fired",
        "incidents that began in the period and were detected",
    ),
    (
        "mttd_median",
        "MTTD, median",
        "s",
        "half of them took no longer from the first failing sample until an alert fired",
        "incidents that began in the period and were detected",
    ),
    (
        "mttd_p90",
        "MTTD, p90",
        "s",
        "nine of ten took no longer from the first failing sample until an alert fired",
        "incidents that began in the period and were detected",
    ),
    (
        "mtta",
        "MTTA, mean",
        "s",
        "from the alert until a person acknowledged it",
        "incidents that began in the period and were acknowledged",
    ),
    (
        "mtta_median",
        "MTTA, median",
        "s",
        "half of them took no longer from the alert until a person acknowledged it",
        "incidents that began in the period and were acknowledged",
    ),
    (
        "mtta_p90",
        "MTTA, p90",
        "s",
        "nine of ten took no longer from the alert until a person acknowledged it",
        "incidents that began in the period and were acknowledged",
    ),
    (
        "repair_time",
        "Repair time, mean",
        "s",
        "from the acknowledgement to the first good sample",
        "incidents restored in the period that were acknowledged",
    ),
    (
        "mtbf",
        "MTBF",
        "s",
        "up time of all hosts / incidents that began in the period",
        "incidents that began in the period",
    ),
)
_CHANGES = (
    (
        "change_failure_rate",
        "Change-failure rate",
        "percent",
        "changing operations of which an incident began on a changed host within an hour / all changing operations",
        "changing operations that were tried to the end",
    ),
    (
        "change_recovery_time",
        "Failed change recovery time",
        "s",
        "the mean time to restore of the incidents that are laid to a change",
        "such incidents",
    ),
)
_WORK = (
    (
        "automation_ratio",
        "Automation ratio",
        "percent",
        "operations that nobody asked for by hand and no person had a hand in / all that were tried to the end",
        "operations that were tried to the end",
    ),
    (
        "auto_remediation_ratio",
        "Incidents remedied by themselves",
        "percent",
        "incidents that an operation ended for which an alert asked / all restored incidents of which that is known",
        "such incidents",
    ),
    (
        "error_rate",
        "Error rate",
        "percent",
        (
            "failed / (failed + succeeded) operations, each once however often it was tried; partial, rolled back and "
            "unknown ones have failed, cancelled and denied ones do not count"
        ),
        "operations that were tried to the end",
    ),
    (
        "throughput",
        "Throughput",
        "per hour",
        "operations that ended / hours of the period so far",
        "operations that ended",
    ),
    (
        "utilisation",
        "Utilisation",
        "percent",
        (
            "seconds in which worker processes worked on stages / seconds of all processes of the workers that did "
            "anything in that hour"
        ),
        "hours with a worker",
    ),
)
_ANSWERS = (
    (
        "response_time_p50",
        "Response time, p50",
        "ms",
        "of all answers of all probes together, raw: no percentile is averaged",
        "answers",
    ),
    ("response_time_p95", "Response time, p95", "ms", "95 of 100 answers took no longer", "answers"),
    ("response_time_p99", "Response time, p99", "ms", "99 of 100 answers took no longer", "answers"),
    (
        "response_failed",
        "Probes without an answer",
        "percent",
        "probes that failed or took longer than their time limit; they are not among the answers",
        "probes",
    ),
)
_SECURITY = (
    (
        "security_open",
        "Open security events",
        "count",
        "findings of warning or worse that the last scan of their scope still sees, each once",
        "scans of a host",
    ),
    (
        "security_critical",
        "Critical ones among them",
        "count",
        "open security events that are critical",
        "scans of a host",
    ),
    (
        "security_opened",
        "Security events opened",
        "count",
        "found in the period for the first time, or again after they were gone",
        "scans of a host in the period",
    ),
    (
        "security_closed",
        "Security events closed",
        "count",
        "not found any more by a scan of the period of the same scope",
        "scans of a host in the period",
    ),
    ("security_oldest", "Oldest open security event", "days", "since it was first found", "open security events"),
)

DEFINITIONS: tuple[Definition, ...] = tuple(
    Definition(name, group, label, unit, meaning, sample)
    for group, rows in (
        ("availability", _AVAILABILITY),
        ("incidents", _INCIDENTS),
        ("changes", _CHANGES),
        ("operations", _WORK),
        ("response time", _ANSWERS),
        ("security", _SECURITY),
    )
    for name, label, unit, meaning, sample in rows
)
BY_NAME = {one.name: one for one in DEFINITIONS}
