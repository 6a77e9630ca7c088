"""The Prefect Agent: a small, outbound-only process that runs Prefect flow runs on your own infrastructure."""
