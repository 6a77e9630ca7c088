"""One warning if this machine's clock and the clocks of Cloud and platform differ."""

from typing import Final

import attrs

from prefect.agent.domain.skew import is_tolerated, skew_sentence
from prefect.agent.ports import events
from prefect.agent.ports.events import Event, EventSink

NEWS: Final = 60.0
"""Seconds by which the difference must change before it is reported again."""


@attrs.define
class SkewWarning:
    """Reports a clock difference once, and again if it changes much. Call it often: it does nothing in between."""

    tell: EventSink
    _reported: dict[str, float] = attrs.field(factory=dict, init=False)
    """By place: the difference that was reported last."""

    def __call__(self, cloud: float, platform: float) -> None:
        """Take the seconds that the clocks of Cloud and platform are ahead of this machine's."""
        self._judge("the Cloud", cloud)
        self._judge("the platform", platform)

    def _judge(self, place: str, skew: float) -> None:
        before = self._reported.get(place)
        if is_tolerated(skew) or (before is not None and abs(skew - before) <= NEWS):
            return
        self._reported[place] = skew
        message = f"{skew_sentence(place, skew)}: have both clocks synchronised (NTP)"
        fields = {"place": place, "skew_s": round(skew, 1)}
        self.tell(Event(name=events.CLOCK_SKEW, level="WARNING", message=message, fields=fields))
