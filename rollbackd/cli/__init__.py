"""The command line: one file a group of commands, each thin. It talks to the daemon over HTTP and never to its database.

`main` is the entry point; everything else is loaded when its command is used.
"""

from rollbackd.cli.entry import main

__all__ = ["main"]
