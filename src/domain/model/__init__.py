"""Values and rules of the agent, as pure functions."""
