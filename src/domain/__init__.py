"""The domain holds what the agent knows and decides.

Pure: attrs and the standard library only, no I/O, clock or threads.
"""
