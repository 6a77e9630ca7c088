"""What the pages of a tenant's settings share."""

from collections.abc import Mapping
from typing import Any, Final

TABS: Final = {
    "Limits": ("", "flow_concurrency_limit"),
    "Key-value store": ("/key-values", "key_value"),
    "Secrets": ("/secrets", "secret"),
    "API keys": ("/keys", "auth_api_key"),
    "Tenants": ("/tenants", "tenant"),
}
"""Tabs of the settings, in order: name, end of the address, and the table that one must be allowed to read.
A tab's template sets ``here`` to its name."""

TAB: Final = "Settings"


def shown(filled: Mapping[str, str], **values: Any) -> dict[str, Any]:
    """What a settings template shows: *values*, and how its form is filled in to begin with."""
    return {"settings_tabs": TABS, "problem": "", "problems": {}, "filled": filled, **values}
