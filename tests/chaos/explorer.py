"""Explore from the command line: ``PYTHONHASHSEED=0 python -m chaos.explorer points|seeds`` in the folder tests.

Prints one line for each broken rule, and with ``--story`` everything that happened before. Exit code 1 if any broke.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from chaos.scenarios import AFTERMATHS, Outcome, by_seed, small

Life = Callable[[], Outcome]


def points(share: int, *, loose: bool) -> Iterator[Life]:
    """Kill at every fault point of the small scenario; of the aftermaths all, or every *share*-th in turn."""
    clean = small(None, loose=loose)
    yield lambda: clean
    for number in range(len(clean.points)):
        for turn, aftermath in enumerate(AFTERMATHS):
            if (number + turn) % share == 0:
                yield partial(small, number, aftermath, loose=loose)


def seeds(first: int, count: int, *, loose: bool | None) -> Iterator[Life]:
    """Scenarios by seed."""
    for seed in range(first, first + count):
        yield partial(by_seed, seed, loose=loose)


def explore(lives: Iterator[Life], *, story: bool, limit: float) -> int:
    """Print what is wrong; return how many scenarios broke a rule."""
    begin, total, bad, rules = time.monotonic(), 0, 0, Counter[str]()
    for life in lives:
        outcome = life()
        total += 1
        if story:
            print("\n".join(outcome.ledger.lines))
        if outcome.violations:
            bad += 1
            rules.update({violation.split(":")[0] for violation in outcome.violations})
            print(f"BROKEN {outcome.name}: " + "; ".join(outcome.violations), flush=True)
        if time.monotonic() - begin > limit:
            break
    print(f"{total} scenarios in {time.monotonic() - begin:.1f} s, {bad} broke a rule: {dict(rules)}")
    return bad


def main() -> int:
    """Parse the command line and explore."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["points", "seeds", "point"])
    parser.add_argument("--share", type=int, default=1)
    parser.add_argument("--first", type=int, default=int(os.environ.get("CHAOS_SEED", "0")))
    parser.add_argument("--count", type=int, default=1 if "CHAOS_SEED" in os.environ else 60)
    parser.add_argument("--point", type=int)
    parser.add_argument("--aftermath", choices=AFTERMATHS, default="restart")
    parser.add_argument("--part", type=int, default=0, help="explore each --parts-th life, beginning with this one")
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--loose", choices=["yes", "no"])
    parser.add_argument("--story", action="store_true")
    parser.add_argument("--limit", type=float, default=1e9, help="stop after so many seconds")
    given = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        environ = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(Path(__file__).parent.parent)}
        os.execve(sys.executable, [sys.executable, "-m", "chaos.explorer", *sys.argv[1:]], environ)
    loose = None if given.loose is None else given.loose == "yes"
    if given.what == "points":
        found = points(given.share, loose=bool(loose))
    elif given.what == "point":
        found = iter([partial(small, given.point, given.aftermath, loose=bool(loose))])
    else:
        found = seeds(given.first, given.count, loose=loose)
    part = islice(found, given.part, None, given.parts)
    return 1 if explore(part, story=given.story, limit=given.limit) else 0


if __name__ == "__main__":
    sys.exit(main())
