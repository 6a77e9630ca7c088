"""Removes the text of a template from errors about it, if a flow author named the place it was read from.

That place may be any file or page, and an API server that names an unknown field would show a line of it.
"""

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from prefect.agent.adapters.kubernetes.errors import StatusError
from prefect.agent.adapters.kubernetes.fields import BadTemplate
from prefect.agent.domain.errors import (
    PlatformError,
    PlatformForbidden,
    PlatformUnavailable,
    SubmissionRefused,
    UnitNameTaken,
)

_SOURCE: Final = "the job template that the run config's job_template_path names"

_FIELD: Final = re.compile(r"(?:spec|metadata)(?:\.[a-z][A-Za-z]{1,40}|\[\d{1,5}\])*")
_FREE: Final = re.compile(
    r"(annotations|labels|limits|requests|matchLabels|nodeSelector|volumeAttributes|options|overhead|items)\b.*"
)
"""Fields below which a template may have names of its own."""

_MOST_FIELDS: Final = 5
"""Names of fields that a message shows."""


@contextmanager
def without_text(*, hides: bool) -> Generator[None]:
    """If *hides*, replace errors in the block by errors of the same type without text of the template."""
    try:
        yield
    except UnitNameTaken:  # names only the unit
        raise
    except PlatformError as problem:
        if not hides or not _is_of_the_server(problem):
            raise
        hidden = _hidden(problem)
    else:
        return
    raise hidden from None  # a traceback would show the original


def _is_of_the_server(problem: BaseException) -> bool:
    """Return whether an error may show text of the template; a ``BadTemplate`` only names fields known to the agent."""
    cause = problem.__cause__
    return isinstance(cause, StatusError) or (
        isinstance(problem, SubmissionRefused) and not isinstance(cause, BadTemplate)
    )


def _hidden(problem: PlatformError) -> PlatformError:
    cause = problem.__cause__
    status = f" (HTTP {cause.code})" if isinstance(cause, StatusError) else ""
    if isinstance(problem, PlatformUnavailable):
        return PlatformUnavailable(
            f"the API server could not create the Job of {_SOURCE}{status}", retry_after=problem.retry_after
        )
    if isinstance(problem, PlatformForbidden):
        return PlatformForbidden(f"the agent may not create the Job of {_SOURCE} in its namespace{status}")
    fields = safe_fields(cause) if isinstance(cause, StatusError) else []
    where = f"; look at {', '.join(fields)}" if fields else ""
    return SubmissionRefused(
        f"Kubernetes refuses {_SOURCE}{status}{where}. Its text is not repeated here; try it with "
        "kubectl create --dry-run=server"
    )


def safe_fields(failure: StatusError) -> list[str]:
    """Return the fields that the server reports as wrong, if their names are Kubernetes' own.

    Only the report about a decoded object (422) is used: in other reports a field may have any name.
    """
    if failure.code != 422:
        return []
    causes = failure.details.get("causes")
    found = [str(each.get("field")) for each in causes if isinstance(each, Mapping)] if isinstance(causes, list) else []
    plain = [_FREE.sub(r"\1", field) for field in found]
    return list(dict.fromkeys(field for field in plain if _FIELD.fullmatch(field)))[:_MOST_FIELDS]
