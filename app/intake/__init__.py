"""Hostile bytes become arrays: limits, decoding, tokenising, on a bounded pool of threads."""

from app.intake.limits import Limits
from app.intake.pool import IntakePool
from app.intake.prepare import Prepared, prepare

__all__ = ["IntakePool", "Limits", "Prepared", "prepare"]
