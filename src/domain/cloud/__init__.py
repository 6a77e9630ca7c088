"""The rules of a Prefect Cloud as pure functions, shared by the in-memory fake and the embedded server."""
