"""The service as several processes: a supervisor, one engine, and workers that speak HTTP."""
