"""The command line: parse, call, print. `harness --help` imports neither torch nor mlflow."""

from harness.cli.app import main

__all__ = ["main"]
