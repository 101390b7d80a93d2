"""Machines with systemd of their own: how one is ended."""

from __future__ import annotations

import subprocess
from contextlib import suppress

import psutil


def machine_ended(process: subprocess.Popen[bytes]) -> None:
    """End systemd-nspawn and all that runs in its machine; alone it would leave the machine running."""
    with suppress(psutil.NoSuchProcess):
        for one in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                one.kill()
    process.kill()
    process.wait(60)
