"""The study: every idea of the network with and without it, from several seeds and shares of the data."""
