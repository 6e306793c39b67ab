"""The command line: the only place that parses arguments, prints and decides the exit status."""

from dsunet.cli.entry import COMMANDS, main

__all__ = ["COMMANDS", "main"]
