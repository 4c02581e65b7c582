"""Question before something is removed."""

import sys

import typer

from harness.core.errors import UserError


def ask(question: str, *, yes: bool) -> None:
    """Ask on the terminal, unless the user has agreed with `--yes`.

    Raises:
        typer.Abort: the user declined.
        UserError: there is no terminal to ask on.
    """
    if yes:
        return
    if not can_ask():
        raise UserError("there is no terminal to ask on, so nothing was removed; add --yes")
    typer.confirm(question, abort=True, err=True)


def can_ask() -> bool:
    """True if a user can read a question and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()
