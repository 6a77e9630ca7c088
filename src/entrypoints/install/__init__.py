"""``prefect agent install``: files that install an agent on Kubernetes or beside a process manager. Pure text."""
