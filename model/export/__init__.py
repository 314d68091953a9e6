"""Export: a bundle as one file that other runtimes can answer from."""
