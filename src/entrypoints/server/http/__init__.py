"""The embedded Cloud over HTTP: who may ask, how long an answer may take, pages for people."""
