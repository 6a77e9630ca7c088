"""A real flow of the 1.x line with something for each of the Cloud's pages to show."""

import datetime

import prefect
from prefect import Flow, Parameter, task
from prefect.artifacts import create_link, create_markdown
from prefect.schedules import Schedule
from prefect.schedules.clocks import CronClock
from prefect.storage import Local


@task(tags=["numbers"])
def numbers(n):
    prefect.context.logger.warning("numbers up to %s", n)
    return list(range(n))


@task
def double(x):
    return 2 * x


@task(max_retries=1, retry_delay=datetime.timedelta(seconds=0))
def add(xs):
    if prefect.context.task_run_count < 2:
        raise ValueError("the first try fails on purpose")
    return sum(xs)


@task
def report(total, who):
    create_markdown(f"# For {who}\n\nThe sum is **{total}**.")
    create_link("https://example.org/report")
    prefect.context.logger.error("an error line for %s", who)
    if who == "nobody":
        raise ValueError("there is nobody to report to")


schedule = Schedule(clocks=[CronClock("0 9 * * 1", parameter_defaults={"n": 2, "who": "the week"}, labels=["weekly"])])

with Flow(
    "everything",
    schedule=schedule,
    storage=Local(path=__file__, stored_as_script=True, add_default_labels=False),
) as flow:
    report(add(double.map(numbers(Parameter("n", default=3)))), Parameter("who", required=True))
