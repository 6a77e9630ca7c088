"""Run several ``prefect`` commands in one process; print exit status and output of each."""

import json
import sys

from click.testing import CliRunner

from prefect.cli import cli

outcomes = []
for words in json.load(sys.stdin):
    done = CliRunner().invoke(cli, words)
    outcomes.append([done.exit_code, done.output + (repr(done.exception) if done.exception else "")])
print(json.dumps(outcomes))
