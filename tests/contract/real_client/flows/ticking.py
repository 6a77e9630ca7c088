"""Flows with schedules: by interval, by cron, and on dates with parameters."""
# ruff: noqa: D103 - flows as people write them

from datetime import timedelta

import pendulum

from prefect import Flow, Parameter, task
from prefect.schedules import CronSchedule, IntervalSchedule, Schedule
from prefect.schedules.clocks import DatesClock
from prefect.storage import Local

NOW = pendulum.now("utc")


@task
def tick(what):
    return what


def storage():
    return Local(path=__file__, stored_as_script=True, add_default_labels=False)


with Flow("hourly", schedule=IntervalSchedule(start_date=NOW.add(minutes=5), interval=timedelta(hours=1)),
          storage=storage()) as hourly:  # fmt: skip
    tick(Parameter("what", default="tick"))

with Flow("at six", schedule=CronSchedule("0 6 * * *", start_date=pendulum.datetime(2020, 1, 1, tz="Europe/Berlin")),
          storage=storage()) as at_six:  # fmt: skip
    tick("six")

DATES = [NOW.add(seconds=8), NOW.add(days=1)]
CLOCKS = [DatesClock(DATES, parameter_defaults={"what": "tock"}, labels=["clock"])]

with Flow("dated", schedule=Schedule(clocks=CLOCKS), storage=storage()) as dated:
    tick(Parameter("what"))
