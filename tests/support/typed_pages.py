"""Pages whose commands are typed from top to bottom, with what the reader does before, between and after them."""

from collections.abc import Callable, Iterable, Mapping

import attrs

from support.console_pages import Step, typed
from support.terminals import Reader


def excuse(reasons: Mapping[str, str], step: Step) -> str:
    """Return why a step of a page is not typed, by the beginnings of commands; empty if it is typed."""
    return next((why for begin, why in reasons.items() if step.command.startswith(begin)), "")


@attrs.frozen
class Page:
    """A page that is typed.

    Attributes:
        before: Commands that make what the page takes for granted.
        between: By beginning of a command: what happens before it is typed.
        after: Commands that show what the page promises; they must succeed.
        variables: Environment variables of its reader.
        needs_docker: Whether some of its commands need a Docker engine.
    """

    before: tuple[str, ...] = ()
    between: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    after: tuple[str, ...] = ()
    variables: Mapping[str, str] = attrs.field(factory=dict)
    needs_docker: bool = False

    def type(self, person: Reader, steps: Iterable[Step], here: Callable[[str], str] = str) -> None:
        """Type everything; what stays ends well at Ctrl+C.

        Args:
            steps: The page's own, without those that are not typed.
            here: Gives a command what is called otherwise on this machine.
        """
        for step in self._in_order(steps):
            person.do(attrs.evolve(step, command=here(step.command)))
        person.stop()

    def _in_order(self, steps: Iterable[Step]) -> Iterable[Step]:
        yield from typed(*self.before)
        for step in steps:
            for begin, commands in self.between.items():
                if step.command.startswith(begin):
                    yield from typed(*commands)
            yield step
        yield from typed(*self.after)
