"""The texts that ``prefect agent install`` prints, for Kubernetes and for process managers. Pure."""
