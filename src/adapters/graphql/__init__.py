"""Prefect Cloud and Prefect Server of the 0.x and 1.x lines, over GraphQL."""

from prefect.agent.adapters.graphql.cloud_api import GraphQLCloudApi

__all__ = ["GraphQLCloudApi"]
