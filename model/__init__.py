"""The network, its data, training, calibration, evaluation and bundle format; knows nothing of HTTP."""
