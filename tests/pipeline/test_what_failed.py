"""What is said of a command that failed: its title, the command as people know it, and why."""

from __future__ import annotations

import pytest

from opsqueue.model.plan import Command, Result, Step
from opsqueue.pipeline.target import _what_failed

SCRIPT = Command(argv=("sh", "-c", "set -eu\nexec gzip\n", "sh", "a.log"), stdin="one\ntwo")


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("", ""),
        ("a.log\n\n", ": a.log"),
        (
            "begun\ngzip: stdout: No space left on device\n\na.log could not be packed\n",
            ": gzip: stdout: No space left on device; a.log could not be packed",
        ),
    ],
)
def test_a_script_does_not_hide_why_it_failed(output, why):
    said = _what_failed(Step(title="pack", command=SCRIPT), Result(exit_code=1, stderr=output))
    assert said == f"pack: sh -c '…' sh a.log <<< '…' ended with exit code 1{why}"


def test_a_short_command_is_told_whole():
    command = Command(argv=("mkdir", "-p", "/srv/a b"), timeout=7)
    said = _what_failed(Step(title="make it", command=command), Result(exit_code=None, timed_out=True))
    assert said == "make it: mkdir -p '/srv/a b' did not end within 7 s"


def test_where_nothing_was_sent_nobody_is_sent_to_the_logs(story):
    story.machines["h1"].value = 13
    refused = story.drive(story.ask())
    story.machines["h1"].value, story.machines["h1"].breaks = 0, {"set 1"}
    broken = story.drive(story.ask(retry_count=0, rollback_enabled=False))
    advice = {shown["operation_id"]: shown["findings"][0]["advice"] for shown in (refused, broken)}
    assert advice[refused["operation_id"]].startswith("Nothing was sent.")
    assert advice[broken["operation_id"]].startswith("See `opsqueue logs ")
