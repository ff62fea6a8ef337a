"""``python -m bids_app`` and the console script ``tandem``."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    from bids_app.cli.main import main as run

    return run(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
