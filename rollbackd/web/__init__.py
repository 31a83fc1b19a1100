"""What people, CI and Alertmanager see over HTTP: the API, the event stream, the console, and the routes for operation.

It reads the store and the settings, and asks `flow` for everything that changes something; it decides nothing itself.
"""
