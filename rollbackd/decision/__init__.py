"""Should we act? Evidence in, decision out, with the full record of every check.

Pure: no IO, no clock, no asyncio. It speaks only in the words of `rollbackd.model`; `now` is an argument, so that the daemon, the
backtest and the tests run the same code.
"""
