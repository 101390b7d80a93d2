"""Answers of a host that are long where nobody expects it: each is read in one pass, or this module never ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from procfs_said import parsed, said

from opsqueue.connectors.script import split
from opsqueue.facts.checks import OUTPUT_MOST, command_fact, disk_fact, service_fact
from opsqueue.facts.logs import Logs, LogsWhere, logs
from opsqueue.facts.security import integrity
from opsqueue.model.fact import Fact, read, why_unknown
from opsqueue.model.plan import Result
from opsqueue.operations.database.checks import judged
from opsqueue.operations.tuning.wanted import same_resource

LONG = 1_000_000
PIECES = (
    " ",
    "a",
    "1",
    "-",
    "1 ",
    "- ",
    "'",
    "'a",
    "a'",
    "a=",
    "a=1",
    "a='",
    "/",
    " /",
    "%",
    "=",
    "|",
    "\t",
    "1 1 1 1% ",
)
DISK = disk_fact("d", "/srv", seconds=5)
COMMAND = command_fact("c", ["/etc/opsqueue/checks/x"], seconds=5)
BLOCKS = "@blocks\nFilesystem 1024-blocks Used Available Capacity Mounted on\n"


def asked(fact: Fact, stdout: str) -> dict:
    return read(fact, Result(exit_code=0, stdout=stdout))


@pytest.mark.parametrize("piece", PIECES)
def test_a_line_of_df_that_is_long(piece: str) -> None:
    found = asked(DISK, f"{BLOCKS}{piece * (LONG // len(piece))}x\n@inodes\n@mounts\n")
    assert (found["size"], found["percent"]) == (None, None)


@pytest.mark.parametrize("piece", PIECES)
def test_a_line_of_df_that_is_just_short_enough_to_be_looked_at(piece: str) -> None:
    found = asked(DISK, f"{BLOCKS}{(piece * 16_000)[:16_000]}x\n@inodes\n@mounts\n")
    assert set(found) >= {"size", "percent"}


@pytest.mark.parametrize("row", ["/dev/a b 10 5 5 50% /x  y", "/dev/a 1 b 10 5 5 50% /x  y", "1 10 5 5 50% /x  y"])
def test_names_in_df_may_hold_blanks_and_numbers(row: str) -> None:
    found = asked(DISK, f"{BLOCKS}{row}\n@inodes\n- - - - - /x  y\n@mounts\n")
    assert (found["device"], found["mount"], found["size"]) == (row[: row.index(" 10 ")], "/x  y", 10_240)


@pytest.mark.parametrize("piece", PIECES)
def test_what_a_command_says_that_is_long(piece: str) -> None:
    found = asked(COMMAND, f"OK | {piece * (LONG // len(piece))}x\n")
    assert len(found["output"]) <= OUTPUT_MOST
    assert why_unknown(found) is None


@pytest.mark.parametrize("fact", [DISK, COMMAND, service_fact("s", "x", seconds=5), integrity(sudo=True, seconds=5)])
@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([*PIECES, "\n", "@blocks\n", "@x\n", "code=0\n", "..5"]), min_size=1, max_size=4),
    st.data(),
)
def test_any_piece_again_and_again(fact: Fact, pieces: list[str], data: st.DataObject) -> None:
    text = "".join(one * (data.draw(st.sampled_from([1, 100_000])) // len(one) + 1) for one in pieces)
    assert isinstance(asked(fact, text), dict)


def test_many_mounts_and_as_many_complaints() -> None:
    number = LONG // 20
    mounts = "\n".join(f"/dev/root /m{one} ext4 rw 0 0" for one in range(number))
    errors = "\n".join(f"stat: cannot read file system information for '/n{one}': no" for one in range(number))
    partitions = "\n".join(f"8 {one} 1 sda{one}" for one in range(number))
    text = said(first={"/proc/self/mounts": mounts}, last={"/proc/partitions": partitions, "@stat": None})
    found = parsed(text, errors, subjects=["disk"])
    assert found["disk"]["mounts"]


def test_one_process_in_very_many_lines() -> None:
    found = parsed(said().replace("40/stat:40 (x\n", "40/stat:40 (x\n" + "40/stat:xxx\n" * LONG))
    assert found["processes"]["count"] == 4


def test_a_control_group_very_far_down() -> None:
    found = parsed(said(first={"/proc/self/cgroup": "0::" + "/a" * LONG}), subjects=["cgroup"])
    assert "4096 characters" in found["cgroup"]["unknown"]


def test_very_many_logs_with_very_many_generations() -> None:
    number = LONG // 40
    rows = ["now\t20260101T000000Z\t1\troot"]
    rows += [f"log\t/l{one % 9000}\t7\t1\t1\troot\troot\t640\troot" for one in range(9000)]
    rows += [f"generation\t/l0\t/l0-20260101T0000{one % 60:02}Z\t8\t1\t1\t0" for one in range(number)]
    rows += [f"open\t7\t{one}\tx\t1" for one in range(number)]
    found = asked(logs(LogsWhere(paths=("/l*",))), "\n".join([*rows, "end"]) + "\n")
    whole = Logs.of(found)
    assert [len(one.generations) for one in whole.logs[:2]] == [number, 0]
    assert (whole.log("/l0"), whole.log("/none")) == (whole.logs[0], None)
    assert len(whole.logs[-1].openers) == number


def test_looks_that_nobody_asked_for_are_not_looked_at() -> None:
    found = parsed(said(between=({"@between": "101.00"},) * 2000), sample_gap_s=2.0)
    assert "peak" not in found["cpu"]


def test_a_quota_of_very_many_digits_is_not_the_one_that_was_wanted() -> None:
    assert not same_resource("CPUQuota", "50%", "1" * LONG)
    assert same_resource("CPUQuota", "50%", "500ms")


def test_a_report_of_a_database_check_that_is_one_long_line() -> None:
    assert judged("read-x", {"exit_code": 1, "lines": ["compressed " * (LONG // 10)]}) == "failed"
    assert judged("read-x", {"exit_code": 1, "lines": ["ERROR: compressed pglz data is corrupt"]}) == "damaged"


def test_a_number_at_the_end_of_a_script_that_nobody_can_read() -> None:
    mark, digits = "f" * 16, "9" * 5000
    for line in (f"end 0 {digits} 5", f"end 0 0 {digits}", f"end {digits} 0 5"):
        text = f"\n@@{mark} begin 0 0 1\nx\n@@{mark} {line}\n"
        assert split(text, mark, [DISK]) == {}


@pytest.mark.parametrize("error", [OverflowError, RecursionError, ZeroDivisionError, AttributeError])
def test_an_answer_that_cannot_be_read_is_unknown_whatever_it_causes(error: type[Exception]) -> None:
    def parse(_raw: object) -> object:
        raise error("strange")

    assert "strange" in str(why_unknown(asked(Fact(name="f", ask=DISK.ask, parse=parse), "x")))
