"""Flower on opsqueue's own application: `python -m opsqueue.tasks flower`; it can look and change nothing.

The stock transport serves it: its view of the queues knows no other. The broker's URL is read here and not given on
the command line, because it may hold a password.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from opsqueue import telemetry
from opsqueue.settings import load
from opsqueue.tasks.app import make_app
from opsqueue.tasks.voice import speak


def main(words: Sequence[str]) -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    settings = load(parser.parse_args(words).config)
    telemetry.configure(None, form=settings.logging.format, level=settings.logging.level)
    speak(settings, "flower")
    app = make_app(settings, events=True)
    where = [f"--address={settings.flower.address}", f"--port={settings.flower.port}"]
    sys.argv = ["opsqueue-flower"]  # Flower shows it, and needs none of ours
    app.start(["flower", *where, "--read_only=True", "--logging=error"])
    return 0
