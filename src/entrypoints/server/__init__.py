"""The embedded Cloud: a small application of its own beside the agent."""
