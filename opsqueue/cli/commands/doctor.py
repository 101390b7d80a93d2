"""Look at everything that this installation needs; say what is missing and the command that mends it."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict

from opsqueue.cli.checks import all_checks, config_check
from opsqueue.cli.exit_status import FAILED
from opsqueue.cli.look import Check
from opsqueue.cli.output import Out
from opsqueue.cli.parsing import Parser
from opsqueue.cli.text import safe
from opsqueue.errors import InvalidConfig
from opsqueue.settings import load
from opsqueue.settings_file import find_config


def options(parser: Parser) -> None:
    """What it takes."""
    parser.ends((0, 2, 3), "opsqueue doctor", "opsqueue doctor --output json")


def run(given: Namespace) -> int:
    """Print each check; 3 if one fails."""
    out = Out.of(given)
    found = _checked(given)
    if out.json:
        out.listing("checks", [asdict(check) for check in found], (), None)
    for check in () if out.json else found:
        _print(out, check)
    return FAILED if any(check.state == "fail" for check in found) else 0


def _print(out: Out, check: Check) -> None:
    # No table: a terminal would cut off what matters most, the command at the end.
    out.line(f"{out.word(check.state):<4}  {check.check}: {safe(check.message)}")
    if check.mend:
        out.line(f"      mend it: {safe(check.mend)}")


def _checked(given: Namespace) -> list[Check]:
    try:
        settings = load(given.config)
    except InvalidConfig as error:
        return [Check(check="configuration", state="fail", message=error.message, mend="opsqueue config check")]
    return [config_check(find_config(given.config)), *all_checks(settings)]
