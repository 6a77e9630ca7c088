"""What the pages of a tenant's settings share."""

from collections.abc import Mapping
from typing import Any, Final

TABS: Final = {
    "Limits": "",
    "Key-value store": "/key-values",
    "Secrets": "/secrets",
    "API keys": "/keys",
    "Tenants": "/tenants",
}
"""Tabs of the settings, in order: name and end of the address. A tab's template sets ``here`` to its name."""

TAB: Final = "Settings"


def shown(filled: Mapping[str, str], **values: Any) -> dict[str, Any]:
    """What a settings template shows: *values*, and how its form is filled in to begin with."""
    return {"settings_tabs": TABS, "problem": "", "filled": filled, **values}
