"""Tells people how an incident stands. Best effort, and never in the way of a rollback.

`teller.py` is what the other rooms call; each channel is a file of its own.
"""
