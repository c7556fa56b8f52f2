"""``python -m twin``: the command line."""

from twin.cli.main import entry

entry()
