"""Training: from a data set and a config to the weights of a bundle."""
