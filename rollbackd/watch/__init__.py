"""Did it help? Measures the objectives after a rollback and names the outcome.

`outcome.py` and `look.py` are pure and hold every rule; `schedule.py` is the one file that knows APScheduler.
"""
