"""An embedded Cloud for each test."""

from collections.abc import Generator
from pathlib import Path

import pytest

from support.embedded import Embedded


@pytest.fixture
def cloud(tmp_path: Path) -> Generator[Embedded]:
    """An empty Cloud with its default tenant."""
    embedded = Embedded(tmp_path / "cloud.db")
    yield embedded
    embedded.database.close()
