"""The one place where an error becomes a message and an exit status."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path

from opsqueue.cli import catalogue
from opsqueue.cli.exit_status import DONE, FAULT, INTERRUPTED, PIPE_CLOSED, USAGE
from opsqueue.cli.output import dumps, lost, note
from opsqueue.cli.text import safe
from opsqueue.errors import OpsqueueError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status and raises nothing."""
    words = list(sys.argv[1:] if argv is None else argv)
    _any_text_can_be_printed()
    try:
        return _flushed(_run(words))
    except OpsqueueError as error:
        return _told(error, words)
    except KeyboardInterrupt:
        note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return _nobody_reads()
    except Exception as error:  # noqa: BLE001 - whatever it is, a person gets one line and a file
        return _our_fault(error, words)


def _run(words: list[str]) -> int:
    gc.disable()  # imports make nothing but what stays: looking through it for garbage costs 20 ms of 350
    try:
        name = catalogue.command_in(words)
        parser = catalogue.build(name)
        if not words:
            parser.print_help(sys.stderr)
            return USAGE
        given = parser.parse_args(words)
    except SystemExit:  # --help and --version have said what they had to say
        return DONE
    finally:
        gc.enable()
    if given.command is None:
        parser.error("a command is missing")
    status: int = catalogue.file_of(given.command).run(given)
    return status


def _flushed(status: int) -> int:
    """The status, once all that was printed has been taken; a full disk is no success."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _nobody_reads()
        raise lost(error) from None
    return status


def _told(error: OpsqueueError, words: Sequence[str]) -> int:
    note(f"error: {safe(error.message)}")
    if _for_a_program(words):
        note(dumps(error.as_json()))
    return error.exit_code


def _for_a_program(words: Sequence[str]) -> bool:
    forms = {"json", "jsonl"}
    return any(option == "--output" and form in forms for option, form in pairwise(words)) or any(
        word == f"--output={form}" for word in words for form in forms
    )


def _our_fault(error: Exception, words: Sequence[str]) -> int:
    where = _written(error, words)
    note(f"error: a fault of ours: {type(error).__name__}: {safe(error)[:500]}. The traceback is in {where}.")
    if _for_a_program(words):
        note(dumps(OpsqueueError(f"{type(error).__name__}: {error}", traceback=str(where)).as_json()))
    return FAULT


def _written(error: Exception, words: Sequence[str]) -> Path | str:
    """Where the traceback lies now; only our user may read it."""
    name = f"crash-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}.txt"
    text = "".join(traceback.format_exception(error))
    for directory in (_log_dir(words), Path(tempfile.gettempdir())):
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o750)
            with open(os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 - with a mode
                file.write(text)
        except OSError:
            continue
        return directory / name
    return "no file: none could be written"


def _log_dir(words: Sequence[str]) -> Path:
    # Not needed, and not paid for (0.1 s), unless something went wrong.
    from opsqueue.settings import load  # noqa: PLC0415

    config = next((value for option, value in pairwise(words) if option == "--config"), None)
    try:
        return load(config).log_dir
    except Exception:  # noqa: BLE001 - the configuration itself may be the trouble
        return Path(tempfile.gettempdir())


def _nobody_reads() -> int:
    # Python would complain again when it flushes stdout at its end; now that goes nowhere.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return PIPE_CLOSED


def _any_text_can_be_printed() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
