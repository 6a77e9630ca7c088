"""The embedded Cloud's pages for people: they read through the same storage and change through the same mutations."""
