"""Use cases: small callables that hold ports."""
