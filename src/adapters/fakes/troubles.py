"""Failing on request: what the fakes and the failing wrappers have in common."""

import threading
from collections import defaultdict, deque
from collections.abc import Generator
from contextlib import contextmanager


class Troubles:
    """Errors that calls are to end with, and a list of the calls made. Safe to use from several threads.

    Args:
        methods: Names of the methods that there are.
        lossy: Those of them whose answer can get lost.
        lost: The error that a lost answer shows as.
    """

    def __init__(self, methods: frozenset[str], *, lossy: frozenset[str], lost: type[Exception]) -> None:
        self._methods, self._lossy, self._lost = methods, lossy, lost
        self._guard = threading.Lock()
        self._errors: dict[str, deque[Exception]] = defaultdict(deque)
        self._losses: dict[str, int] = defaultdict(int)
        self._calls: list[str] = []

    @property
    def calls(self) -> list[str]:
        """Names of the methods called so far, in order."""
        with self._guard:
            return list(self._calls)

    def fail_next(self, method: str, error: Exception, times: int) -> None:
        """Let the next *times* calls of *method* raise *error* and do nothing."""
        self._check(method, self._methods)
        with self._guard:
            self._errors[method].extend([error] * times)

    def lose_answers(self, method: str, times: int) -> None:
        """Let the next *times* calls of *method* do their work and then raise."""
        self._check(method, self._lossy)
        with self._guard:
            self._losses[method] += times

    @contextmanager
    def call(self, method: str) -> Generator[None]:
        """One call: its work is the body."""
        with self._guard:
            self._calls.append(method)
            errors = self._errors[method]
            error = errors.popleft() if errors else None
            is_lost = error is None and self._losses[method] > 0
            self._losses[method] -= is_lost
        if error is not None:
            raise error
        yield
        if is_lost:
            raise self._lost(f"the answer to {method} was lost, as the test asked for")

    @staticmethod
    def _check(method: str, known: frozenset[str]) -> None:
        if method not in known:
            raise ValueError(f"{method!r} is none of {', '.join(sorted(known))}")
