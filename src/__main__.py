"""``python -m prefect.agent`` is ``prefect``."""

from prefect.agent.entrypoints.cli import main

main()
