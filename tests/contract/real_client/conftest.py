"""One embedded Cloud per module, with the real client in a home of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect.agent.entrypoints.server.testing import running_server
from support.real_prefect import RealPrefect


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, prefect_python: Path) -> Iterator[RealPrefect]:
    """The real client against an embedded Cloud that the whole module shares."""
    home = tmp_path_factory.mktemp("home")
    with running_server(home / "cloud.db") as url:
        yield RealPrefect(prefect_python, url, home)
