"""An operation as a document: one HTML page with its charts, JSON, text, or (a security scan) SARIF."""

from __future__ import annotations

import time
from argparse import Namespace
from contextlib import redirect_stdout
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

from opsqueue.cli import sarif
from opsqueue.cli.html import page, said
from opsqueue.cli.output import Out, note, put
from opsqueue.cli.parsing import FORMS, Parser
from opsqueue.cli.record import one
from opsqueue.cli.svg import described
from opsqueue.cli.text import safe
from opsqueue.cli.whole_file import form_by_name, refuse_existing, write
from opsqueue.connectors.inventory.directory import read_inventory
from opsqueue.model.report import Report, Section
from opsqueue.operations import catalogue
from opsqueue.pipeline.report import Reporter
from opsqueue.settings import Settings, load
from opsqueue.store import operations, targets
from opsqueue.store.engine import Store

_BY_END = {
    ".html": "html", ".htm": "html", ".sarif.json": "sarif", ".sarif": "sarif", ".json": "json", ".jsonl": "jsonl",
    ".txt": "table",
}  # fmt: skip
"""The longer ends before those that they end in."""


def options(parser: Parser) -> None:
    """What it takes."""
    parser.forms = (*FORMS, "html", "sarif")
    parser.add_argument("operation", metavar="ID", help="the operation; the beginning of its id is enough")
    parser.add_argument(
        "--to",
        metavar="FILE",
        type=Path,
        help="write it there, as --output says, else as the name ends: .html (or nothing), .json, .sarif, .txt",
    )
    parser.add_argument("--force", action="store_true", help="also over a file that is there")
    parser.ends(
        (0, 2, 9, 10, 12),
        "opsqueue report 6f1c",
        "opsqueue report 6f1c --to capacity.html",
        "opsqueue report 6f1c --output json",
        "opsqueue report 6f1c --to scan.sarif",
    )


def run(given: Namespace) -> int:
    """Make it, and print or write it."""
    form = given.output or (_by_name(given.to) if given.to else "table")
    if given.to:
        refuse_existing(given.to, force=given.force)
    settings = load(given.config)
    with one(settings, given.operation) as (store, operation_id):
        made = _sarif(store, operation_id) if form == "sarif" else _report(settings, store, operation_id)
    if given.to is None:
        _print(Out.of(given), form, operation_id, made)
        return 0
    with redirect_stdout(StringIO()) as text:
        _print(Out(form=form), form, operation_id, made)
    write(given.to, text.getvalue(), force=given.force)
    note(f"written: {given.to}")
    return 0


def _by_name(path: Path) -> str:
    """The form that the name of a file says; HTML when it says none."""
    return form_by_name(path, _BY_END, "--output") or "html"


def _sarif(store: Store, operation_id: str) -> dict[str, Any]:
    with store.read() as connection:
        return sarif.document(operations.get(connection, operation_id), targets.of(connection, operation_id))


def _report(settings: Settings, store: Store, operation_id: str) -> Report:
    hosts = read_inventory(settings)
    reporter = Reporter(store=store, settings=settings, kinds=catalogue(), hosts=hosts)
    return reporter.report(operation_id, time.time())


def _print(out: Out, form: str, operation_id: str, report: Report | dict[str, Any]) -> None:
    if isinstance(report, dict):
        out.entry(report)
    elif form == "html":
        put(page(report), end="")
    elif out.json:
        out.entry({"operation_id": operation_id, **asdict(report)})
    else:
        out.line(safe(report.title))
        out.text(safe(report.subtitle))
        for section in report.sections:
            _section(out, section)


def _section(out: Out, section: Section) -> None:
    out.title(safe(section.title))
    for paragraph in section.text:
        out.text(safe(paragraph))
    for grid in section.grids:
        out.rows([name.upper() for name in grid.columns], [[said(cell) for cell in row] for row in grid.rows])
    for chart in section.charts:
        out.text(safe(f"chart: {chart.title}. {described(chart)}"))
