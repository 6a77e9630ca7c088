"""The embedded Cloud's command line: ``prefect server``."""
