"""A browser for each test."""

import pytest

from support.embedded import Embedded
from support.page_browser import Browser


@pytest.fixture
def browser(cloud: Embedded) -> Browser:
    """A browser at an empty Cloud that asks for no key."""
    return Browser(cloud.execute)
