"""Examples in the documentation: extracted as they stand, type-checked and run."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLE: Final = re.compile(r"<!-- example: (\S+) -->\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""A file of an example: a comment with its name, then a block of code."""


def extract(page: str, into: Path) -> list[Path]:
    """Write the files of the examples of a page into a folder; return their paths in the order of the page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = []
    for name, code in EXAMPLE.findall(text):
        paths.append(into / name)
        paths[-1].write_text(code, encoding="utf-8")
    return paths


def type_check(files: list[Path], cache: Path) -> str:
    """What mypy says of the files under ``--strict``, with no other setting than where the package is."""
    settings = cache / "mypy.ini"
    settings.write_text("[mypy]\nstrict = true\nnamespace_packages = true\nexplicit_package_bases = true\n")
    words = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(settings),
        "--cache-dir",
        str(ROOT / ".mypy_cache/pages"),
    ]
    env = {**os.environ, "MYPYPATH": f"{ROOT / '.import-root'}:{files[0].parent}"}
    words += ["--follow-imports", "silent", *map(str, files)]
    done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=cache, timeout=600, check=False)
    return done.stdout + done.stderr


def run_tests(files: list[Path]) -> tuple[int, str]:
    """Run the test modules among the files with pytest, as a user would; return the exit code and the output."""
    folder = files[0].parent
    tests = [path.name for path in files if path.name.startswith("test_")]
    words = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", ".", *tests]
    words += ["--basetemp", str(folder / "temporary")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, timeout=600, check=False)
    return done.returncode, done.stdout + done.stderr
