"""Asks running agents how they are: those of this machine at their sockets, another at its ``--agent-address``."""

import http.client
import json
import os
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import attrs
import click

from prefect.agent.domain.model.asked_agents import AskedAgent
from prefect.agent.entrypoints.runtime.local_endpoint import SUFFIX, ask
from prefect.agent.entrypoints.runtime.status import described
from prefect.agent.entrypoints.settings.runtime_directory import looked_at

DOCUMENT: Final = "/status.json"

SECONDS: Final = 10.0
"""How long an agent at an address may take to answer."""

MOST_BYTES: Final = 16 * 1024 * 1024

PORTS: Final = {"http": 80, "https": 443}

OTHER_TENANT: Final = "it works for another tenant"

AGENT_ADDRESS: Final = click.option(
    "--agent-address",
    metavar="URL",
    callback=lambda _context, _option, address: address if address is None else base_of(address),
    help="Ask the agent that serves its health at this address, too. No proxy is used. Default: none.",
)


@attrs.frozen
class Running:
    """One agent that answers.

    Attributes:
        where: Its socket, or its address.
        facts: Its document ``/status.json``.
    """

    where: Path | str
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The agent's name."""
        return str(self.facts["agent"]["name"])

    @property
    def pid(self) -> int:
        """The agent's process."""
        return int(self.facts["agent"]["pid"])

    @property
    def life(self) -> tuple[str, int, object]:
        """What no other process has in common with it."""
        return self.name, self.pid, self.facts["agent"].get("started_at")


def running_agents(*, clean_up: bool = False) -> Iterator[Running]:
    """Agents on this machine that this user may ask.

    Args:
        clean_up: Remove sockets that no process listens at any more.
    """
    for folder in looked_at(os.environ):
        with suppress(OSError):
            for path in sorted(folder.glob(f"*{SUFFIX}")):
                found = _asked(path, clean_up=clean_up)
                if found is not None:
                    yield found


def agent_at(address: str) -> Running:
    """The agent that serves its health at *address*.

    Raises:
        ValueError: No agent answers there; the message says what happened.
    """
    parts = urlsplit(address)
    try:
        status, body = _got(parts)
    except (OSError, http.client.HTTPException) as problem:
        why = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
        raise ValueError(f"it does not answer: {why}") from problem
    if status != 200:
        raise ValueError(f"it answers {status} for {DOCUMENT}{_reason(body)}")
    return _read(address, body)


def asked_agents(tenant: str, address: str | None) -> Iterator[AskedAgent]:
    """How the agents of *tenant* are that can be asked: all on this machine, and the one at *address*."""
    known = set()
    if address is not None:
        try:
            there = agent_at(address)
        except ValueError as problem:
            yield AskedAgent(where=address, silence=str(problem))
        else:
            known.add(there.life)
            found = described(there.facts, address)
            yield found if found.tenant == tenant else AskedAgent(where=address, silence=OTHER_TENANT)
    for agent in running_agents():
        found = described(agent.facts, f"process {agent.pid} of this machine")
        if agent.life not in known and found.tenant == tenant:
            yield found


def base_of(address: str) -> str:
    """*address* as ``http://host:port``.

    Raises:
        click.BadParameter: It is no address of a server.
    """
    try:
        parts = urlsplit(address if "//" in address else f"//{address}", scheme="http")
        host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme)
        host.encode("idna")
    except ValueError as problem:
        raise click.BadParameter(f"{address!r} is not an address: {problem}") from problem
    if not host or port is None:
        raise click.BadParameter(f"{address!r} is not an address; write it like http://127.0.0.1:8080")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _asked(path: Path, *, clean_up: bool) -> Running | None:
    try:
        status, body = ask(path, "GET", DOCUMENT)
        return _read(path, body) if status == 200 else None
    except ConnectionRefusedError:  # its process is gone
        if clean_up:
            with suppress(OSError):
                path.unlink()
    except (OSError, http.client.HTTPException, ValueError):
        pass
    return None


def _got(parts: SplitResult) -> tuple[int, bytes]:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    with closing(kind(parts.hostname or "", parts.port, timeout=SECONDS)) as connection:
        connection.request("GET", DOCUMENT)
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_BYTES)


def _reason(body: bytes) -> str:
    """Why an agent refuses, if it says so as agents do."""
    try:
        return f": {json.loads(body)['error']}"
    except (ValueError, TypeError, KeyError):
        return ""


def _read(where: Path | str, body: bytes) -> Running:
    """Raises ValueError for a document of something else."""
    found = Running(where, json.loads(body))
    described(found.facts, "")
    return found
