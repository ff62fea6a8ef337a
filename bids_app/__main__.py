"""``python -m bids_app`` and the console script ``tandem``."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    try:
        from bids_app.cli.main import main as run

        return run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:  # before the program could listen, or as it was ending
        return 130


if __name__ == "__main__":
    sys.exit(main())
