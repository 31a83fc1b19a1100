"""What Prometheus says of a service: asked within a deadline, believed only when nothing about the answer is in doubt (I3).

`transport` is the one file that speaks HTTP to Prometheus; `answer`, `promql` and `measure` are pure; `client` and `measurer` are
what the other rooms touch.
"""
