"""Other ways to serve the shipped bundle, each set up as its own documentation teaches.

A peer runs in an environment of its own (`requirements/<name>.txt`) and reads its settings from the environment:
PEER_VARIANT, PEER_PORT, PEER_THREADS (of one forward), PEER_WORKERS, PEER_DECODERS (processes), PEER_BATCH and
PEER_WAIT_MS. What they are set to is the best of those that were tried; `benchmarks/servers.py` has it.
"""
