"""The whole daemon on a time that a test owns: alerts, faults, crashes and restarts in one thread, and the promises after each step.

What is real: everything that `app.running` builds, from the conductor to SQLite. What is played: time (`loop`), Prometheus and its
clock (`measured`), the deploy tool and its probe (`tool`). `world` holds what outlives a daemon, `life` is one run of it, `promises`
says what must hold, `machine` draws what happens.

A run is drawn by Hypothesis and has no other source of chance, so it replays. A failing one prints its steps, shrunk, as a script of
calls, and beside it a line `@reproduce_failure(…)`: put that over the class `Machine`, or paste the steps into a test of their own, where
`state` is a `Machine()`. The run of every commit is the same each time; the nightly one draws anew, prints its seed, and takes it again
by `--hypothesis-seed=N`.
"""
