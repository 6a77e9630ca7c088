"""`make demo`: real flow runs of the real Prefect 1.4.1, from Scheduled to Success, on this machine or in a cluster.

Starts an embedded Cloud and an agent, registers a flow, creates five flow runs in four ways and shows what becomes of
them. Ends by itself, or with `KEEP=1` when it is interrupted, and leaves nothing behind.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

PREFECT_PYTHON = Path(__file__).resolve().parent.parent / ".venv-prefect" / "bin" / "python"


def main() -> int:
    """Run the demonstration that the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--platform", choices=["docker", "kubernetes", "process"])
    parser.add_argument("--image", help="for Docker and Kubernetes: an image with Prefect 1.x")
    parser.add_argument("--cloud-host", help="for Kubernetes: address by which pods reach this machine")
    parser.add_argument("--python", type=Path, default=PREFECT_PYTHON, help="of an environment with Prefect 1.4.1")
    parser.add_argument("--keep", action="store_true", help="leave everything up after the runs, until Ctrl-C")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # so long as there is nothing to clean up: no traceback of an import
    from demo_play import FAILURES, Interrupted, demonstrate  # noqa: PLC0415

    began = time.monotonic()
    try:
        good = demonstrate(given.platform, given.image, given.cloud_host, given.python.absolute(), keep=given.keep)
    except Interrupted as interrupted:
        print(f"{interrupted}: agent, flow runs and embedded Cloud are stopped and gone.", file=sys.stderr)
        return 128 + interrupted.number
    except BrokenPipeError:  # `make demo | head`: nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except FAILURES as problem:
        print(problem, file=sys.stderr)
        return 1
    end = "succeeded" if good else "ended, NOT all of them well,"
    print(f"The flow runs {end} in {time.monotonic() - began:.1f} s. Agent, units and embedded Cloud are gone again.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
