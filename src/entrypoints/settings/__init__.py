"""Settings of the agent: where they come from, what they are called, which values they take."""
