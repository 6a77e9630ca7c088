"""Send documents with ``Client.graphql``; print the data of each, or the text of its failure."""
# ruff: noqa: BLE001 - a program for the environment of the real client; a failure is an answer

import json
import sys

from prefect import Client

client = Client()
answers = []
for document, variables in json.load(sys.stdin):
    try:
        answers.append(client.graphql(document, variables=variables).to_dict()["data"])
    except Exception as failure:
        answers.append(f"{type(failure).__name__}: {failure}")
print(json.dumps(answers))
