"""The database of the embedded Cloud: tables, transactions, filters, API keys."""
