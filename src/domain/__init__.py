"""What the agent knows and decides. Pure: attrs and the standard library only, no I/O, no clock, no threads."""
