"""Attack: a dependency with a known vulnerability, or one that was exchanged on its way.

Rule: floors without known vulnerabilities, locks with hashes and without addresses of indexes, an audit where it can be
made, and a list of what is in the image.
"""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT: Final = Path(__file__).resolve().parents[3]
LOCKS: Final = sorted((ROOT / "requirements").glob("*.txt"))
_spec = importlib.util.spec_from_file_location("audit_locks", ROOT / "tools" / "audit_locks.py")
assert _spec is not None
assert _spec.loader is not None
audit_locks: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(audit_locks)

FLOORS: Final = {"requests": (2, 33), "urllib3": (2, 6, 3), "starlette": (0, 49, 1), "h11": (0, 16)}
"""First releases without the vulnerabilities that were known in November 2026."""


@pytest.mark.parametrize("name", FLOORS)
def test_the_floors_have_no_known_vulnerability(name: str) -> None:
    """Declared, and not below the release that mended the last one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["server"]]
    [floor] = [found[1] for each in declared if (found := re.match(rf"{name}>=([0-9.]+)", each))]
    assert tuple(map(int, floor.split("."))) >= FLOORS[name]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.stem))
def test_locks_have_hashes_and_name_no_index(lock: Path) -> None:
    """Each requirement is one version with its hashes; where it comes from is each machine's own matter."""
    text = lock.read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[A-Za-z])", "\n" + re.sub(r"(?m)^\s*#.*\n?", "", text))[1:]
    assert len(entries) == len(re.findall(r"(?m)^[^\s#]", text)) > 0
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^\s;]+( ;.*)? \\\n", entry), entry
        assert "--hash=sha256:" in entry
    assert not re.search(r"(?m)^--|https?://|file:", text)
    assert "/tmp/" not in text


def report(*vulns: str, unknown: bool = False) -> str:
    """What pip-audit prints of two packages, one of which the service may not know."""
    flaws = [{"id": each, "fix_versions": ["2.0"]} for each in vulns]
    other = {"skip_reason": "not found"} if unknown else {"version": "1.0", "vulns": []}
    return json.dumps({"dependencies": [{"name": "a", "version": "1.0", "vulns": flaws}, {"name": "b", **other}]})


def program(folder: Path, output: str, code: int) -> None:
    """A pip-audit that says *output*."""
    (folder / "pip-audit").write_text(f"#!/bin/sh\ncat <<'EOF'\n{output}\nEOF\nexit {code}\n", encoding="ascii")
    (folder / "pip-audit").chmod(0o755)


@pytest.mark.parametrize(
    ("output", "code", "said"),
    [
        (report("CVE-1", "CVE-2"), 1, "x.txt: a 1.0 has CVE-1; mended in 2.0\nx.txt: a 1.0 has CVE-2; mended in 2.0\n"),
        (report(), 0, ""),
        (report(unknown=True), 0, "locks not audited: the advisory service does not know 1 of 2 packages\n"),
        ("", 0, "locks not audited: the advisory service cannot be reached\n"),
    ],
    ids=["found", "clean", "unknown", "unreachable"],
)
def test_an_audit_fails_for_findings_only(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    output: str,
    code: int,
    said: str,
) -> None:
    """A service that cannot be reached is one line, and no failure."""
    program(tmp_path, output, code)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert audit_locks.main(["x.txt"]) == code
    assert capsys.readouterr().out == said


def test_an_audit_without_the_program_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and no failure."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert audit_locks.main(["x.txt"]) == 0
    assert capsys.readouterr().out.startswith("locks not audited: pip-audit is not here")


def test_the_list_of_what_is_in_the_image_is_whole(tmp_path: Path) -> None:
    """CycloneDX, with each locked package and its hashes, made without a network."""
    made = tmp_path / "sbom.json"
    words = ["make", "-C", str(ROOT), "-o", ".venv/.installed", "sbom", f"SBOM={made}"]
    subprocess.run(words, check=True, capture_output=True, timeout=120)
    sbom = json.loads(made.read_text(encoding="utf-8"))
    lock = (ROOT / "requirements" / "image.txt").read_text(encoding="utf-8")
    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["metadata"]["component"]["name"] == "prefect-agent"
    found = {f"{each['name']}=={each['version']}" for each in sbom["components"]}
    assert found == set(re.findall(r"(?m)^[a-z][^\s]*==[^\s]+", lock))
    assert all(each["externalReferences"][0]["hashes"] for each in sbom["components"])
