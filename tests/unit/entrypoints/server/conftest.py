"""An embedded Cloud for each test."""

from collections.abc import Generator
from pathlib import Path

import pytest

from support.embedded import Embedded, opened


@pytest.fixture
def cloud(tmp_path: Path) -> Generator[Embedded]:
    """An empty Cloud with its default tenant; it asks for no key."""
    with opened(tmp_path / "cloud.db") as embedded:
        yield embedded
