"""The service: HTTP in, answers out."""
