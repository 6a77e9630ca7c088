"""Look for known vulnerabilities in the locked requirements, if that can be done here: ``make check`` calls this.

It needs pip-audit, which is no dependency, and the advisory service that pip-audit asks. Where one of them is missing
one line says so, and that is no failure.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PROGRAM: Final = "pip-audit"
OPTIONS: Final = (
    "--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off", "--timeout", "15",
)  # fmt: skip

SECONDS: Final = 300.0
"""For one file."""

Finding = tuple[str, str, str]
"""Package with version, advisory, releases that mend it."""


class CannotAudit(Exception):
    """What is missing, in one sentence."""


def findings(report: str) -> list[Finding]:
    """What a report of pip-audit says.

    Raises:
        CannotAudit: It is no report, or not of all packages and nothing is found: a mirror may know no advisories.
    """
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, LookupError, TypeError):
        raise CannotAudit("the advisory service cannot be reached") from None
    found = [
        (f"{package['name']} {package.get('version', '')}", flaw["id"], ", ".join(flaw.get("fix_versions", ())))
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    unknown = [package["name"] for package in packages if "vulns" not in package]
    if unknown and not found:
        raise CannotAudit(f"the advisory service does not know {len(unknown)} of {len(packages)} packages")
    return found


def audited(program: str, lock: Path) -> list[Finding]:
    """The findings for one file. Raises CannotAudit."""
    words = [program, *OPTIONS, "--requirement", str(lock)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise CannotAudit(f"the advisory service did not answer within {SECONDS:g} s") from None
    return findings(done.stdout)


def main(locks: Sequence[str]) -> int:
    """Audit *locks*; return 1 if something is found."""
    beside = Path(sys.executable).with_name(PROGRAM)
    program = str(beside) if beside.exists() else shutil.which(PROGRAM)
    found: list[Finding] = []
    try:
        if program is None:
            raise CannotAudit(f"{PROGRAM} is not here ({sys.executable} -m pip install {PROGRAM})")
        for lock in locks:
            found += [(f"{lock}: {package}", flaw, mended) for package, flaw, mended in audited(program, Path(lock))]
    except CannotAudit as problem:
        print(f"locks not audited: {problem}")
    for package, flaw, mended in found:
        print(f"{package} has {flaw}; mended in {mended or 'no release yet'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
