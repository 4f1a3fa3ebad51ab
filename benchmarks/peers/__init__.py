"""The peers: other ways to keep the same entries, one module per kind."""
