"""The embedded Cloud's file: tables, transactions, filters, keys."""
