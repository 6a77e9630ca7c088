"""The agent's values and rules, as pure functions."""
