"""rollbackd rolls a bad deploy back by itself, and says why when it does not."""

__version__ = "0.1.0"
