"""The decision over history: what rollbackd would have decided about past alerts, before anyone trusts it with `auto`.

`files`, `known`, `replay`, `score`, `lines` and `together` are pure; `history` is a Prometheus as it would have answered at the time of
a virtual clock; `run` joins them. Nothing here decides anything by itself: `decide` does, on a case made of what was known by then.
"""
