"""One package per technology."""
