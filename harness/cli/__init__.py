"""Command line: parse, call the API, print. `harness --help` imports neither torch nor mlflow."""

from harness.cli.app import entry, main

__all__ = ["entry", "main"]
