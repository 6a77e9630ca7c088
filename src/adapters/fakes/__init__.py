"""In-memory ports for other people's tests, and the contract suites that every adapter passes."""
