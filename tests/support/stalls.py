"""Stalls at the points where threads, processes and servers meet, as on a machine that is busy: ``--stalls 0.05``.

A test that loses a race once in a thousand runs loses it here soon. Only this process stalls, not its children. A test
that fails only then is not to be given more time but certainty: wait for what it asserts, from whoever tells of it.
"""

import functools
import http.client
import random
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, TypeVar

import pytest

Result = TypeVar("Result")

LONGEST: Final = 2.0
"""Seconds of one stall."""

PLACES: Final[tuple[tuple[type, str], ...]] = (
    (threading.Thread, "run"),
    (threading.Event, "wait"),
    (threading.Event, "set"),
    (threading.Condition, "notify_all"),
    (subprocess.Popen, "__init__"),
    (http.client.HTTPConnection, "request"),
    (http.client.HTTPConnection, "getresponse"),
    (socketserver.BaseServer, "process_request"),
    (BaseHTTPRequestHandler, "handle_one_request"),
    (BaseHTTPRequestHandler, "end_headers"),
)
"""Calls that stall before they begin and after they have ended."""


def install(patch: pytest.MonkeyPatch, chance: float) -> None:
    """Make each of :data:`PLACES` stall with that chance, from 0 to 1, twice in each call."""
    for owner, name in PLACES:
        patch.setattr(owner, name, _stalling(getattr(owner, name), chance))


def _stalling(call: Callable[..., Result], chance: float) -> Callable[..., Result]:
    @functools.wraps(call)
    def stalls(*args: Any, **kwargs: Any) -> Result:
        _maybe(chance)
        result = call(*args, **kwargs)
        _maybe(chance)
        return result

    return stalls


def _maybe(chance: float) -> None:
    if random.random() < chance:
        time.sleep(LONGEST * random.random())
