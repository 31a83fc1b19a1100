"""Alerts come in here: authenticated, parsed, routed to the one service that they are about, and durable before they are answered.

`payload` and `routing` are pure. Nothing here decides anything: an alert only asks.
"""
