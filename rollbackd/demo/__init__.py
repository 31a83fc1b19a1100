"""The demo's world: a real Prometheus and Alertmanager, a sample service that is really redeployed, and traffic on it.

Nothing else imports this room. It needs a checkout, since the rules and the route are the shipped files.
"""
