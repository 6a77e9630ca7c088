"""What looks like a mistake in the configuration: names that do nothing, and labels that look like a list. Pure."""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.texts import cut
from prefect.agent.entrypoints.settings.configuration import Configuration
from prefect.agent.entrypoints.settings.names import unknown_settings
from prefect.agent.entrypoints.settings.unknown_keys import unknown_keys
from prefect.agent.entrypoints.settings.values import as_flag, as_list, own, typed

STRICT: Final = "PREFECT_AGENT_STRICT"
"""Variable that makes every doubt an error."""

_LONGEST: Final = 60


def doubts(found: Configuration, labels: Iterable[str], declared: Collection[str] = ()) -> list[str]:
    """Return a sentence for each key and variable that does nothing, and one for all labels that look like a list.

    Args:
        labels: Those that the agent will have.
        declared: Variables of options that the agent's platform declares.
    """
    environ = {name: text for name, text in found.environ.items() if name not in declared}
    return [*unknown_keys(found.files, environ), *unknown_settings(environ), *listed_labels(labels)]


def listed_labels(labels: Iterable[str]) -> Iterator[str]:
    """Yield one sentence if some of *labels* look like a list in one text, with the labels that may be meant."""
    odd = [label for label in labels if _looks_like_a_list(label)]
    if not odd:
        return
    meant = [part for label in odd for part in _parts(label)]
    shown = ", ".join(repr(cut(label, _LONGEST)) for label in odd)
    subject = "The label" if len(odd) == 1 else "Each of the labels"
    one = f"{subject} {shown} is one label, but looks like a list"
    options = " ".join(f"--label {cut(part, _LONGEST)}" for part in meant)
    yield f"{one}: do you mean {options}?" if meant else f"{one}: remove it"


def is_strict(found: Configuration, *, given: bool | None) -> bool:
    """Return whether doubts are errors: as *given*, else as the environment or a file says.

    Raises:
        ConfigurationError: The value is neither on nor off.
    """
    return bool(given) or bool(as_flag(own(found.environ, STRICT), found.own_source(STRICT)))


def refuse(sentences: Iterable[str]) -> None:
    """Raise ConfigurationError with all *sentences*, if there are any."""
    text = "; ".join(sentences)
    if text:
        raise ConfigurationError(f"the configuration is doubtful, and --strict allows no doubts: {text}")


def _looks_like_a_list(label: str) -> bool:
    return "," in label or label[:1] in "[({" or label[-1:] in "])}" or (label[:1] in "'\"" and label[:1] == label[-1:])


def _parts(label: str) -> list[str]:
    """The labels that may be meant; empty if there are none."""
    try:
        return as_list(typed(label), "")
    except ConfigurationError:
        return [part for part in (each.strip(" []()'\"") for each in label.split(",")) if part]
