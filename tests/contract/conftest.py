"""Which promises are looked at where, and a Cloud that answers by a script."""

from collections.abc import Generator

import pytest

from support.stub_cloud import Stub, running_stub

LOOSE = ("TestPortOnMemory", "TestPortOnGraphQL")
"""Suites on Clouds that do not compare and set: what is promised of stricter ones only is no part of them."""


@pytest.fixture
def stub() -> Generator[Stub]:
    """A Cloud that answers by a script."""
    with running_stub() as stub:
        yield stub


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not promised, instead of skipping it."""
    without = [
        item
        for item in items
        if "strict" in getattr(item, "fixturenames", ()) and any(name in item.nodeid for name in LOOSE)
    ]
    if without:
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in set(without)]
