"""Flows with schedules: by interval, by cron, by recurrence rules, and on dates with parameters."""
# ruff: noqa: D103 - flows as people write them

from datetime import timedelta

import pendulum
from dateutil import rrule

from prefect import Flow, Parameter, task
from prefect.schedules import CronSchedule, IntervalSchedule, RRuleSchedule, Schedule
from prefect.schedules.clocks import DatesClock, RRuleClock
from prefect.storage import Local

NOW = pendulum.now("utc")


@task
def tick(what):
    return what


def storage():
    return Local(path=__file__, stored_as_script=True, add_default_labels=False)


# Registered first: only a run whose time is still to come then is planned, and a busy machine takes long.
DATES = [NOW.add(seconds=30), NOW.add(days=1)]
CLOCKS = [DatesClock(DATES, parameter_defaults={"what": "tock"}, labels=["clock"])]

with Flow("dated", schedule=Schedule(clocks=CLOCKS), storage=storage()) as dated:
    tick(Parameter("what"))

with Flow("hourly", schedule=IntervalSchedule(start_date=NOW.add(minutes=55), interval=timedelta(hours=1)),
          storage=storage()) as hourly:  # fmt: skip
    tick(Parameter("what", default="tick"))

with Flow("at six", schedule=CronSchedule("0 6 * * *", start_date=pendulum.datetime(2020, 1, 1, tz="Europe/Berlin")),
          storage=storage()) as at_six:  # fmt: skip
    tick("six")

LAST_FRIDAYS = rrule.rrule(rrule.MONTHLY, dtstart=NOW.set(hour=9, microsecond=0), byweekday=rrule.FR(-1))
RULES = rrule.rruleset()
RULES.rrule(rrule.rrule(rrule.DAILY, dtstart=NOW.naive().replace(microsecond=0), byhour=[6, 18]))
RULES.exrule(rrule.rrule(rrule.WEEKLY, dtstart=NOW.naive().replace(microsecond=0), byhour=[6, 18], byweekday=[5, 6]))
RULES.rdate(NOW.add(hours=1).naive().replace(microsecond=0))

with Flow("last fridays", schedule=RRuleSchedule(LAST_FRIDAYS), storage=storage()) as last_fridays:
    tick("friday")

with Flow("ruled", schedule=Schedule(clocks=[RRuleClock(RULES, parameter_defaults={"what": "rule"})]),
          storage=storage()) as ruled:  # fmt: skip
    tick(Parameter("what"))
