"""The agent's status page: a shell of HTML whose script reads ``/status.json``, and a summary that needs no script."""
