"""Failures on request, for the fakes and the failing wrappers."""

import threading
from collections import defaultdict, deque
from collections.abc import Generator
from contextlib import contextmanager


class RequestedFailures:
    """The errors that a test asked for, and the calls made so far. Safe to use from several threads.

    Args:
        methods: Names of all methods.
        lossy: Names of the methods whose answer can get lost.
        lost: Error that a lost answer raises.
    """

    def __init__(self, methods: frozenset[str], *, lossy: frozenset[str], lost: type[Exception]) -> None:
        self._methods, self._lossy, self._lost = methods, lossy, lost
        self._guard = threading.Lock()
        self._errors: dict[str, deque[Exception]] = defaultdict(deque)
        self._losses: dict[str, int] = defaultdict(int)
        self._calls: list[str] = []

    @property
    def calls(self) -> list[str]:
        """Return the names of the methods called so far, in order."""
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
        """Count one call and execute the body as its work, unless the call is to fail."""
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
