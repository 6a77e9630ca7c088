"""Ways in: command line, container, runtime, embedded Cloud."""
