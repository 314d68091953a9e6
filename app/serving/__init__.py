"""Prepared items become answers: batcher, engine, runtimes, registry of bundles."""
