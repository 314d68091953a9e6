"""Inputs unlike any catalogue, the same every time they are made: what familiarity is measured against."""
