"""The Cloud API over GraphQL (Prefect Cloud and Server of the 0.x and 1.x lines)."""
