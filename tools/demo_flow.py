"""The flow of `make demo`, of the 1.x line: a parameter, a mapped task, a task that fails once and is retried."""

import datetime

import prefect
from prefect import Flow, Parameter, task
from prefect.storage import Local


@task
def cities(count):
    """The first cities of a list."""
    return ["Lisbon", "Nairobi", "Osaka", "Quito", "Tromso"][:count]


@task
def letters(city):
    """How many letters a name has."""
    return len(city)


@task(max_retries=1, retry_delay=datetime.timedelta(seconds=1))
def add(numbers):
    """The sum, at the second try."""
    if prefect.context.task_run_count < 2:
        raise ValueError("the first try fails, to show a retry")
    return sum(numbers)


@task(log_stdout=True)
def tell(total):
    """Say it in the flow run's log."""
    print(f"The names have {total} letters together")


with Flow("letters-of-cities", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    tell(add(letters.map(cities(Parameter("count", default=3)))))
