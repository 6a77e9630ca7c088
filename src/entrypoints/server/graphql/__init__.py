"""The GraphQL API of the embedded Cloud: parse, validate and execute requests."""
