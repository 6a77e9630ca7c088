"""Flow runs as operating-system processes."""
