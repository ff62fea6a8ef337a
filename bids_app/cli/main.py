"""What happens after a person presses return: a tool, a question answered at once, or a run."""

from __future__ import annotations

import json
import signal
import sys
import traceback

from bids_app.bids.files import system_error
from bids_app.cli.parser import build_parser, executable_spec, parse, wants
from bids_app.cli.run import run
from bids_app.cli.tools import INNER, TOOLS
from bids_app.errors import Stopped, TandemError, UsageError
from workflows.stop import STOP


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    try:
        if argv and argv[0] in INNER:
            return INNER[argv[0]](argv[1:])
        with STOP.listening():
            return _chosen(argv)
    except TandemError as error:
        print(f"tandem: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as error:
        stopped = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
        print(f"tandem: {stopped}", file=sys.stderr)
        return stopped.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        told = system_error(error)
        if told is None:
            return _defect()
        print(f"tandem: {told}", file=sys.stderr)
        return told.exit_code
    except Exception:
        return _defect()


def _chosen(argv: list[str]) -> int:
    if argv and argv[0] in TOOLS:
        return TOOLS[argv[0]](argv[1:])
    if wants(argv, "--bids-exec-spec"):
        print(json.dumps(executable_spec(), indent=2))
        return 0
    if not argv:
        build_parser().print_help()
        return UsageError.exit_code
    return run(parse(argv))


def _defect() -> int:
    traceback.print_exc()
    print("tandem: this is a defect in Tandem; please report it with the text above", file=sys.stderr)
    return TandemError.exit_code
