"""Data sets: a table, its pictures and its labels as arrays, with the faults of all three."""

from model.data.dataset import Dataset, Split, load_dataset
from model.data.faults import DataError, Faults
from model.data.source import Source

__all__ = ["DataError", "Dataset", "Faults", "Source", "Split", "load_dataset"]
