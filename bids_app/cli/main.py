"""What happens after a person presses return: a tool, a question answered at once, or a run."""

from __future__ import annotations

import json
import sys
import traceback

from bids_app.cli.parser import build_parser, executable_spec, parse, wants
from bids_app.cli.run import run
from bids_app.cli.tools import TOOLS
from bids_app.errors import TandemError, UsageError

INTERRUPTED = 130


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    try:
        if argv and argv[0] in TOOLS:
            return TOOLS[argv[0]](argv[1:])
        if wants(argv, "--bids-exec-spec"):
            print(json.dumps(executable_spec(), indent=2))
            return 0
        if not argv:
            build_parser().print_help()
            return UsageError.exit_code
        return run(parse(argv))
    except TandemError as error:
        print(f"tandem: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("tandem: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception:
        traceback.print_exc()
        print("tandem: this is a defect in Tandem; please report it with the text above", file=sys.stderr)
        return TandemError.exit_code
