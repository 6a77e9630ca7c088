"""What flow runs are called, so that every line about one says its flow, its name and its id. Pure."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import attrs

MOST: Final = 5000
"""Flow runs that are remembered, the latest ones."""


def title(run_id: str, flow_name: str, name: str) -> str:
    """Return flow, name and id of a flow run, for people."""
    known = "/".join(part for part in (flow_name, name) if part)
    return f"{known} ({run_id})" if known else run_id


def introduced(message: str, run_id: str, flow_name: str, name: str) -> str:
    """Return *message* with the whole title of the flow run that it is about, if it does not have it already."""
    whole = title(run_id, flow_name, name)
    if whole in message:
        return message
    without_flow = title(run_id, "", name)
    if name and without_flow in message:
        return message.replace(without_flow, whole, 1)
    begin = message.find(run_id)
    while begin >= 0:
        end = begin + len(run_id)
        if not _joins(message[begin - 1 : begin]) and not _joins(message[end : end + 1]):
            return f"{message[:begin]}{whole}{message[end:]}"
        begin = message.find(run_id, end)
    return f"Flow run {whole}: {message}"


def _joins(character: str) -> bool:
    """Whether *character* makes what stands beside it a part of a longer name."""
    return character.isalnum() or character in {"-", "_", "/", "."} if character else False


@attrs.define
class RunTitles:
    """Remembers what flow runs are called. For one thread at a time."""

    _names: "OrderedDict[str, tuple[str, str]]" = attrs.field(factory=OrderedDict, init=False)

    def learn(self, run_id: str, flow_name: str, name: str) -> None:
        """Remember one flow run. A name that is empty is not known here: the known one stays."""
        if flow_name or name:
            known_flow, known_name = self._names.get(run_id, ("", ""))
            self._names[run_id] = flow_name or known_flow, name or known_name
            self._names.move_to_end(run_id)
        while len(self._names) > MOST:
            self._names.popitem(last=False)

    def introduce(self, message: str, fields: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """Return *message* and *fields* with what the flow run is called that they are about, if they are about one."""
        run_id = fields.get("flow_run_id")
        if not isinstance(run_id, str) or not run_id:
            return message, fields
        self.learn(run_id, str(fields.get("flow_name") or ""), str(fields.get("flow_run_name") or ""))
        flow_name, name = self._names.get(run_id, ("", ""))
        names = {"flow_run_name": name, "flow_name": flow_name} if flow_name or name else {}
        return introduced(message, run_id, flow_name, name), {**fields, **names}
