"""What rollbackd remembers, durably: one file per aggregate, all of them behind `Store`.

Every write goes through the one writer (`writer.py`) and every fact that only SQLite has stands in `sqlite.py`. Touch `Store` and the
aggregates; leave the tables to them.
"""
