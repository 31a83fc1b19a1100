"""What the daemon says of itself: log lines, its own metrics, systemd's notifications. Secrets are taken out here.

Every other room may log and count through this one; it knows none of them but the words of `model`.
"""
