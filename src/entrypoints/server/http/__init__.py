"""The embedded Cloud over HTTP: accepted requests, requests that wait, limits of connections, pages for people."""
