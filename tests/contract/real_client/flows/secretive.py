"""A task that needs a secret, for clients whose backend is a Cloud."""
# ruff: noqa: D103 - a flow as people write them

import prefect
from prefect import Flow, task
from prefect.storage import Local
from prefect.tasks.secrets import PrefectSecret


@task
def opens(word):
    prefect.context.logger.info("the word has %s letters", len(word))


with Flow("secretive", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    opens(PrefectSecret("WORD"))
