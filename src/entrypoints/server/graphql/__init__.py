"""GraphQL of the embedded Cloud: from the text of a request to its answer."""
