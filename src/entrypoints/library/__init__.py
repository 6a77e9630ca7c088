"""The agent as a Python library: the classes that people start, compose and subclass."""
