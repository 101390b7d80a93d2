"""Write docs/cli.md, the reference of the command line, from the parser."""

from __future__ import annotations

from pathlib import Path

from opsqueue.cli.reference import markdown

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"


def main() -> None:
    PAGE.write_text(markdown(), encoding="utf-8")
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
