"""Reads small texts from paths: files of the agent's machine, web addresses, object stores."""

import importlib
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

from prefect.agent.adapters.kubernetes.fields import BadTemplate
from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.template_paths import FILES, PUBLIC, WEB, is_below, split_path

MAX_BYTES: Final = 1024 * 1024
"""Bytes of a job template."""

TIMEOUT: Final = 10.0
"""Most seconds without a byte."""

DEADLINE: Final = 30.0
"""Seconds for the whole text: a flow author chose the server, which may send very slowly."""

SCHEMES: Final = ("file", "local", "agent", "http", "https", "s3", "gs", "gcs")

_PACKAGES: Final = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
"""By scheme: the package to install; each one installs fsspec, too."""

UNLISTED: Final = (
    "this agent does not read job templates from there; its operator lists places with --template-path, or under "
    "template_paths in its policy"
)

_PASSES: Final = {408, 425, 429}
_MAX_REDIRECTS: Final = 5
"""Redirects that are followed."""

_PLAINLY: Final[Mapping[str, Any]] = {
    "auth": lambda request: request,
    "headers": {"Accept-Encoding": "identity"},
    "timeout": TIMEOUT,
}


def read(path: str) -> bytes:
    """Return the bytes at *path*, at most a little more than :data:`MAX_BYTES`.

    Raises:
        BadTemplate: It cannot be read, now or later.
        PlatformUnavailable: The place where it is cannot be read for now.
    """
    scheme, rest = split_path(path)
    if scheme in FILES:
        return _file(rest)
    if scheme in WEB:
        return _in_time(lambda: _web(path), path)
    if scheme in _PACKAGES:
        return _in_time(lambda: _store(path, _PACKAGES[scheme]), path)
    raise BadTemplate(f"the agent cannot read {scheme}:// addresses, only a file's path or one of {', '.join(SCHEMES)}")


def shown(path: str) -> str:
    """Return *path* for logs and errors, without name, password and query, which may hold a key."""
    scheme, separator, rest = path.partition("://")
    if not separator:
        return path[:200]
    host, slash, tail = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{tail}".partition("?")[0][:200]


def read_listed(path: str, *, places: Sequence[str]) -> bytes:
    """Return the bytes at a *path* that a flow author chose: only from *places*, also after links and redirects.

    Args:
        places: Allowed folders, files and addresses, as in the policy's rule ``template_paths``.

    Raises:
        BadTemplate: The path is not allowed, or can never be read.
        PlatformUnavailable: The place where it is cannot be read for now.
    """
    scheme, rest = split_path(path)
    if scheme in FILES:
        return _file(_inside(rest, places))
    if scheme in WEB:
        return _in_time(lambda: _web(path, places), path)
    if not is_below(path, places):
        raise BadTemplate(UNLISTED)
    return read(path)


def _inside(name: str, places: Iterable[str]) -> str:
    """Return the file's real path, if that is in one of *places* after all links were followed."""
    roots = [split_path(place)[1] for place in places if place != PUBLIC and split_path(place)[0] in FILES]
    try:
        real = Path(os.path.realpath(name))
        if is_below(name, roots) and any(real.is_relative_to(os.path.realpath(root)) for root in roots):
            return str(real)
    except (OSError, ValueError):  # a NUL byte, or what the file system's encoding lacks
        pass
    raise BadTemplate(UNLISTED)


def _file(name: str) -> bytes:
    try:
        if not stat.S_ISREG(Path(name).stat().st_mode):  # a pipe could block
            raise BadTemplate("it is not a file")
        with Path(name).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as problem:
        raise BadTemplate("there is no such file on the agent's machine") from problem
    except OSError as problem:
        raise BadTemplate(f"the agent cannot read the file: {problem.strerror}") from problem
    except ValueError as problem:  # a NUL byte, or what the file system's encoding lacks
        raise BadTemplate("that cannot be the name of a file") from problem


def _in_time(work: Callable[[], bytes], path: str) -> bytes:
    """Return the result of *work*; raise PlatformUnavailable at the deadline, and leave its thread to end by itself."""
    future: futures.Future[bytes] = futures.Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as problem:  # noqa: BLE001 - raised again below
            future.set_exception(problem)

    threading.Thread(target=run, name="job-template", daemon=True).start()
    try:
        return future.result(timeout=DEADLINE)
    except futures.TimeoutError:
        raise PlatformUnavailable(f"{shown(path)} was not read within {DEADLINE:g} s") from None


def _web(url: str, places: Sequence[str] | None = None) -> bytes:
    """Send a GET without any credentials: not the agent's, those of ``.netrc``, or those in *url*.

    Args:
        places: Allowed addresses, also for redirects, or public ones if that is listed; None allows all.
    """
    import requests  # noqa: PLC0415 - slow to import, seldom needed

    until = time.monotonic() + DEADLINE
    name = shown(url)
    try:
        for _ in range(_MAX_REDIRECTS + 1):
            with (
                _session(url, places) as session,
                session.get(url, stream=True, allow_redirects=False, **_PLAINLY) as answer,
            ):
                target = session.get_redirect_target(answer)
                if target is None:
                    _check_status(answer.status_code, answer.headers.get("Retry-After", ""), name)
                    return _gathered(answer.iter_content(256), until)
            url = urljoin(url, target)
    except requests.exceptions.SSLError as problem:
        raise BadTemplate("there is no TLS connection with its server that can be trusted") from problem
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as problem:
        raise PlatformUnavailable(f"{name} cannot be read now: {type(problem).__name__}") from problem
    except (requests.RequestException, ValueError) as problem:
        raise BadTemplate(f"that address cannot be read: {type(problem).__name__}") from problem
    raise BadTemplate(f"it redirects more than {_MAX_REDIRECTS} times")


def _session(url: str, places: Sequence[str] | None) -> Any:
    """Return a session that may request *url*.

    Raises:
        BadTemplate: The address is not allowed.
    """
    import requests  # noqa: PLC0415

    session = requests.Session()
    if places is None or is_below(url, places):
        return session
    if PUBLIC not in places:
        raise BadTemplate(UNLISTED)
    from prefect.agent.adapters.kubernetes.public_web import PublicOnly  # noqa: PLC0415 - as slow to import

    session.mount("http://", PublicOnly())
    session.mount("https://", PublicOnly())
    return session


def _check_status(status: int, retry_after: str, name: str) -> None:
    if status in _PASSES or status >= 500:
        pause = float(retry_after) if re.fullmatch(r"[0-9]{1,5}", retry_after) else None
        raise PlatformUnavailable(f"{name} cannot be read now: HTTP {status}", retry_after=pause)
    if status != 200:
        raise BadTemplate(f"the server answered HTTP {status}")


def _gathered(chunks: Iterable[bytes], until: float) -> bytes:
    """Return all *chunks*, at most a little more than the limit; check the deadline after each."""
    gathered = bytearray()
    for chunk in chunks:
        gathered += chunk
        if time.monotonic() > until:
            raise PlatformUnavailable(f"the server did not send all of it within {DEADLINE:g} s")
        if len(gathered) > MAX_BYTES:
            break
    return bytes(gathered)


def _store(url: str, package: str) -> bytes:
    """Read an object by fsspec, with the credentials that the agent's machine has for the store."""
    try:
        with importlib.import_module("fsspec").open(url, "rb") as file:
            return bytes(file.read(MAX_BYTES + 1))
    except ImportError as problem:
        raise BadTemplate(f"the agent needs a package to read it: install {package} where the agent runs") from problem
    except (FileNotFoundError, PermissionError) as problem:
        raise BadTemplate("there is no such object, or the agent may not read it") from problem
    except OSError as problem:
        raise PlatformUnavailable(f"{shown(url)} cannot be read now: {type(problem).__name__}") from problem
    except Exception as problem:  # the many errors of the stores' packages have nothing in common
        raise BadTemplate(f"the object store refused: {type(problem).__name__}") from problem
