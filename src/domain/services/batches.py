"""Send many things in few requests, and find those that spoil one: a culprit waits alone, the others go on."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from prefect.agent.domain.errors import CloudError, RequestRejected, Unauthorised

T = TypeVar("T")

Spoiled = Callable[[T, CloudError, bool], None]
"""Takes an item that failed alone, its error, and whether the item is certainly the cause: others went out."""


def in_halves(batches: Sequence[Sequence[T]], send: Callable[[Sequence[T]], None], spoiled: Spoiled[T]) -> None:
    """Send each batch; one that fails is halved until the culprits are alone.

    An error may be the Cloud's own. It is taken for that if nothing goes out: neither the items at the head, down to
    single ones, nor the very last one; what was not tried alone is left as it is then.

    Args:
        send: Sends some items, or raises.

    Raises:
        Unauthorised: The key is not accepted.
        CloudError: Nothing goes out any more, and items are left. Others may be sent, or given to *spoiled*.
    """
    waiting = deque(list(batch) for batch in batches if batch)
    suspects: list[tuple[T, CloudError]] = []
    answers = False
    patience = start = max((len(batch) for batch in waiting), default=0).bit_length() + 1

    def accuse(*, sure: bool) -> None:
        for item, problem in suspects:
            spoiled(item, problem, sure)
        suspects.clear()

    while waiting:
        batch = waiting.popleft()
        try:
            send(batch)
        except Unauthorised:
            raise
        except CloudError as problem:
            if len(batch) == 1:
                suspects.append((batch[0], problem))
            else:
                middle = len(batch) // 2
                waiting.extendleft((batch[middle:], batch[:middle]))
            if isinstance(problem, RequestRejected):
                answers = True
                accuse(sure=True)
                continue
            patience -= 1
            if patience <= 0 and waiting and not _probe(waiting, send):
                accuse(sure=False)
                raise
            if patience > 0 or not waiting:
                continue
        patience, answers = start, True
        accuse(sure=True)
    accuse(sure=answers)


def _probe(waiting: deque[list[T]], send: Callable[[Sequence[T]], None]) -> bool:
    """Whether the very last item goes out."""
    try:
        send(waiting[-1][-1:])
    except Unauthorised:
        raise
    except CloudError as problem:
        return isinstance(problem, RequestRejected)
    waiting[-1].pop()
    if not waiting[-1]:
        waiting.pop()
    return True
