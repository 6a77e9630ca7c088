"""Signals: a skip and what it carries along, a failure with a clean-up behind it, a flow that fails by an exception."""
# ruff: noqa: D103 - flows as people write them

from prefect import Flow, case, task
from prefect.engine.signals import FAIL, SKIP, SUCCESS
from prefect.storage import Local
from prefect.triggers import all_finished, any_failed


@task
def skipped():
    raise SKIP("nothing to do today")


@task
def follows(_before):
    return "only if there was something"


@task(skip_on_upstream_skip=False)
def reports(_before):
    return "always"


@task
def early():
    raise SUCCESS("done before the end")


@task
def refuses():
    raise FAIL("the check says no")


@task
def bursts():
    raise ZeroDivisionError("an exception nobody catches")


@task(trigger=any_failed)
def alarm(_before):
    return "alarmed"


@task(trigger=all_finished)
def cleans(_before):
    return "clean"


def storage():
    return Local(path=__file__, stored_as_script=True, add_default_labels=False)


with Flow("skipping", storage=storage()) as skipping:
    nothing = skipped()
    reports(follows(nothing))
    early()
    with case(task(lambda: False, name="decide")(), True):
        task(lambda: "unreached", name="unreached")()

with Flow("refusing", storage=storage()) as refusing:
    no = refuses()
    after = follows(no)
    alarm(no)
    cleans(after)
    refusing.set_reference_tasks([no])

with Flow("bursting", storage=storage()) as bursting:
    bursts()
