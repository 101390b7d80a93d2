"""The completion script of a shell, made from the parser."""

from __future__ import annotations

from argparse import Namespace

import shtab

from opsqueue.cli.catalogue import build
from opsqueue.cli.output import put
from opsqueue.cli.parsing import Parser


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")
    parser.ends((0, 2), 'eval "$(opsqueue completion bash)"', "opsqueue completion zsh > ~/.zfunc/_opsqueue")


def run(given: Namespace) -> int:
    """Print it."""
    put(shtab.complete(build(everything=True), given.shell))
    return 0
