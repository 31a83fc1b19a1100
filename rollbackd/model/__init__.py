"""The words of rollbackd as frozen dataclasses and enums. Pure: no IO, no clock, no asyncio.

Every other room speaks in these; `incident.py` holds the one transition table, `reason.py` the one list of reason codes.
"""
