"""Send many things in one request, and find the one that spoils it: the culprit waits alone, the others go on."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from prefect.agent.domain.errors import CloudError, Unauthorised

T = TypeVar("T")


def in_halves(
    items: Sequence[T], send: Callable[[Sequence[T]], None], spoiled: Callable[[T, CloudError], None]
) -> None:
    """Send *items*; a batch that fails is halved until the culprits are alone.

    Args:
        send: Sends a batch, or raises.
        spoiled: Takes an item that failed alone, with its error.

    Raises:
        Unauthorised: The key is not accepted.
        CloudError: Nothing at all goes out: the Cloud itself is the cause. Items not given to *spoiled* may be sent.
    """
    waiting = [list(items)] if items else []
    patience = len(items).bit_length() + 1  # as many failures as it takes to find a culprit that is first, and one more
    while waiting:
        batch = waiting.pop(0)
        try:
            send(batch)
        except Unauthorised:
            raise
        except CloudError as problem:
            patience -= 1
            if len(batch) == 1:
                spoiled(batch[0], problem)
            elif not patience:
                raise
            else:
                middle = len(batch) // 2
                waiting[:0] = [batch[:middle], batch[middle:]]
            continue
        patience = len(items).bit_length() + 1
