"""What could not be read of a unit, said once for each unit."""

import logging
from collections.abc import Callable
from typing import Final

MOST: Final = 1000
"""Units that are remembered to have been warned of."""

_log = logging.getLogger("prefect.agent.docker")


class Doubts:
    """Warns once for each unit name."""

    def __init__(self) -> None:
        self._warned: dict[str, None] = {}

    def of(self, name: str) -> Callable[[str], None]:
        """Takes what cannot be read of the unit *name*."""
        return lambda what: self.warn(name, f"cannot read of the container {name or 'without a name'}: {what}")

    def warn(self, name: str, text: str) -> None:
        """Log *text* as a warning, unless there was one of the unit *name* before."""
        if name not in self._warned:
            self._warned[name] = None
            if len(self._warned) > MOST:
                self._warned.pop(next(iter(self._warned)), None)
            _log.warning("%s", text)
