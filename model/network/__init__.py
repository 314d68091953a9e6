"""The network: one module for each idea, named for it."""

from model.network.network import Network, NetworkOutput

__all__ = ["Network", "NetworkOutput"]
