"""`make soak`, and a thousand kills: the real daemon in a town where everything goes wrong, and an oracle that knows what really was done.

    python -m tests.soak --minutes 10                # random faults of every kind
    python -m tests.soak --kills 1000                # kill -9 at random moments
    python -m tests.soak --minutes 10 --seed 4711    # the faults of an earlier run again

The seed decides which fault comes when and what each service lives through. What the processes make of that is the machine's.
"""
