"""The key figures of a period, each with its definition and how many samples it stands on."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from pathlib import Path

from opsqueue.cli import kpi_forms, kpi_report
from opsqueue.cli.html import page
from opsqueue.cli.output import Out, dumps, note, put
from opsqueue.cli.parsing import Parser
from opsqueue.cli.record import needed
from opsqueue.cli.whole_file import form_by_name, refuse_existing, write
from opsqueue.errors import InvalidRequest
from opsqueue.pipeline.figures import Told, as_json, told
from opsqueue.settings import load
from opsqueue.telemetry import counted

FORMATS = ("table", "json", "csv", "html")
_BY_END = {".html": "html", ".htm": "html", ".json": "json", ".jsonl": "jsonl", ".csv": "csv"}


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument(
        "--period",
        default="month",
        metavar="PERIOD",
        help="day, week, month, quarter: the present one so far; last-day, last-week, last-month, last-quarter; "
        "how long until now, such as 7d or 24h; or START..END such as 2026-03-01..2026-04-01, END not included "
        "(default: month)",
    )
    parser.add_argument(
        "--system", action="append", default=[], metavar="SYSTEM", help="only this host, group or tag; may be repeated"
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="how they are written (default: as --output, or the name of --to, says)"
    )
    parser.add_argument(
        "--to",
        type=Path,
        metavar="FILE",
        help="write them to this file, whole or not at all; its name may say the form: .html, .csv, .json, .jsonl",
    )
    parser.ends(
        (0, 2, 10, 12),
        "opsqueue kpi --period last-month",
        "opsqueue kpi --period 7d",
        "opsqueue kpi --period 2026-03-01..2026-04-01 --system web-server-1 --format csv",
        "opsqueue kpi --period quarter --to kpi.html",
    )


def run(given: Namespace) -> int:
    """Reckon, and show or write."""
    out, settings = Out.of(given), load(given.config)
    form = _form(given, out)
    if given.to:
        refuse_existing(given.to, force=True)
    with needed(settings) as store:
        found = told(store, settings, period=given.period, systems=given.system, now=time.time())
    if given.to:
        write(given.to, _text(found, form), force=True)
        note(f"written to {given.to}")
    elif form == "jsonl":
        out.listing("figures", as_json(found)["figures"], (), None)
    elif form == "json":
        out.entry(as_json(found))
    elif form == "table":
        kpi_forms.table(out, as_json(found))
    else:
        put(_text(found, form), end="")
    if found.added_later:
        note(
            f"{counted(found.added_later, 'operation')} of this period ended after it: a report that was made "
            "earlier has other numbers, and another revision"
        )
    return 0


def _form(given: Namespace, out: Out) -> str:
    """`--format`, else `--output`, else as the name of the file says; both options are fine when they say the same."""
    if given.format and given.output and given.format != given.output:
        raise InvalidRequest(f"--format {given.format} and --output {given.output} say different things: give one")
    said: str | None = given.format or given.output
    if given.to and said is None:
        said = form_by_name(given.to, _BY_END, "--format")
    if given.to and said in {None, "table"}:
        raise InvalidRequest(
            "a table is for a terminal: with --to say --format json, csv or html, or a name such as kpi.html"
        )
    return said or out.form


def _text(found: Told, form: str) -> str:
    if form == "html":
        return page(kpi_report.report(found))
    data = as_json(found)
    if form == "csv":
        return kpi_forms.csv(data)
    if form == "jsonl":
        return "".join(json.dumps(one) + "\n" for one in data["figures"])
    return dumps(data, indent=2) + "\n"
