"""Flow runs as Docker containers."""
