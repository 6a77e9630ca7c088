"""The command line of the embedded Cloud: ``prefect server``."""
