"""Metrics and logs of the service. Neither ever holds what a user sent."""
