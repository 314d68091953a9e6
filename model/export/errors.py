"""What an export can fail with."""


class ExportError(ValueError):
    """A bundle that could not be exported; the message says why. No file was written."""
