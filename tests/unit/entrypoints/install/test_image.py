"""What the image is made of agrees with the rest of the project."""

import re
from pathlib import Path

from prefect.agent.entrypoints.install.plan import USER

ROOT = Path(__file__).resolve().parents[4]
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")


def pins(name: str) -> set[str]:
    """The packages of a lock file, with version and marker."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z0-9._-]+==\S+(?: ; [^\\]+)?) \\$", text, re.MULTILINE))


def versions(name: str) -> set[str]:
    """The packages of a lock file, with version."""
    return {pin.partition(" ")[0] for pin in pins(name)}


def test_the_image_has_the_packages_that_are_tested() -> None:
    """Its lock is a part of the development lock: `make lock` writes both."""
    assert versions("image.txt")
    assert versions("image.txt") <= versions("dev.txt")


def test_manifest_and_image_mean_the_same_user() -> None:
    """A volume's group and `runAsUser` are of no use if it is another."""
    assert f"USER {USER}:{USER}\n" in CONTAINERFILE


def test_what_is_copied_is_there() -> None:
    """The list of what goes into a build names files that exist; everything else stays out."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    named = [line[1:] for line in lines if line.startswith("!")]

    assert "*" in lines
    assert [path for path in named if path != "dist/wheels" and not (ROOT / path).exists()] == []
