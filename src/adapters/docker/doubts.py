"""Warns of facts about a unit that could not be read, once for each unit."""

import logging
from collections.abc import Callable
from typing import Final

MOST: Final = 1000
"""Most units whose warnings are remembered."""

_log = logging.getLogger("prefect.agent.docker")


class Doubts:
    """Warns once for each unit name."""

    def __init__(self) -> None:
        self._warned: dict[str, None] = {}

    def of(self, name: str) -> Callable[[str], None]:
        """Return a function that warns of a fact about the unit *name* that cannot be read."""
        return lambda what: self.warn(name, f"cannot read all of the container {name or 'without a name'}: {what}")

    def warn(self, name: str, text: str) -> None:
        """Log *text* as a warning, unless the unit *name* already had one."""
        if name not in self._warned:
            self._warned[name] = None
            if len(self._warned) > MOST:
                self._warned.pop(next(iter(self._warned)), None)
            _log.warning("%s", text)
