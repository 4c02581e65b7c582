"""The commands of `harness`, and how errors become exit codes.

0 done · 1 failed · 2 the user must change something · 130 or 143 interrupted, to be continued.
"""

import atexit
import contextlib
import errno
import logging
import os
import re
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import FrameType

import typer

from harness.core.errors import HarnessError, StudyInterrupted, UserError

RESUMABLE_COMMANDS = (["run"], ["confirm"])
QUIET_LOGGERS = (
    "alembic",
    "mlflow",
    "optuna",
    "urllib3.connectionpool",
)  # quieter while a command runs
TEMPORARY_NAME = re.compile(
    r"\.(.+)\.\d+-[0-9a-f]{8}\.tmp"
)  # as harness.core.files and data.whole name them
# Of an OSError: what the user can mend, and how.
REMEDIES = {
    errno.EACCES: "make it accessible, or name another place",
    errno.EPERM: "make it accessible, or name another place",
    errno.EROFS: "name a place that can be written, e.g. another --workspace",
    errno.ENOSPC: "make room there, or name another place",
    errno.EDQUOT: "make room there, or name another place",
    errno.ENAMETOOLONG: "give it a shorter name, or name a place with a shorter path",
    errno.ENOTDIR: "a file stands where a folder is needed; move it, or name another place",
    errno.EISDIR: "a folder stands where a file is needed; move it, or name another place",
}

# name: module and function in it (none: the module's own group of commands), and its first line.
# What a command needs is imported when that command is given: no other has to wait for torch.
COMMANDS: dict[str, tuple[str, str | None, str]] = {
    "run": ("run", "run", "Run a study, or continue it, until it has --trials finished trials."),
    "check": (
        "check",
        "check",
        "Find out before training: the space's mistakes, every network in it, weights, the data.",
    ),
    "report": (
        "report",
        "report",
        "Write report.html and trials.csv, and print the leaderboard.",
    ),
    "confirm": (
        "confirm",
        "confirm",
        "Train the best configurations again, on fresh seeds or folds, and rank them by that.",
    ),
    "test": (
        "test",
        "evaluate_test_split",
        "Open the sealed test images, once: what the chosen weights do on them. Every look is "
        "entered.",
    ),
    "trials": (
        "trials",
        "trials",
        "List the trials of a study: what was tried, and what came of it.",
    ),
    "config": (
        "config",
        "config",
        "Show what can be set: key, what it takes, its default, what it means and when it acts.",
    ),
    "lr-find": (
        "lr_find",
        "lr_find",
        "Train while the learning rate rises: where the loss falls is where to search.",
    ),
    "sync": (
        "sync",
        "sync",
        "Bring MLflow up to a study's folder: what is missing there is sent, nothing twice.",
    ),
    "ui": ("ui", "ui", "Start MLflow's own pages on this workspace, for this machine only."),
    "data": ("data", None, "Data sets: inspect, clean, download, synthesize."),
}


def build_app(selected: str | None) -> typer.Typer:
    """The command line, with the command `selected` ready to run; the others can be listed."""
    app = typer.Typer(
        name="harness",
        help="Hyperparameter studies of segmentation networks: run, rank honestly, see.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for name, (module, function, line) in COMMANDS.items():
        if name != selected:
            app.command(name, help=line)(_placeholder_command)
            continue
        command_module = import_module(f"harness.cli.{module}")
        if function is None:
            app.add_typer(command_module.app, name=name)
        else:
            app.command(name)(getattr(command_module, function))
    return app


def _placeholder_command() -> None:
    raise AssertionError("a command that was not named runs")


class TerminationSignal(BaseException):
    """SIGTERM arrived."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    with _preserve_process_state():
        code = _run(arguments, debug=debug)
    sys.exit(code)


@contextlib.contextmanager
def _preserve_process_state() -> Iterator[None]:
    """Raise Terminated on SIGTERM, and give the caller's process back as it was.

    A test or a notebook may call `main`. Handlers can be set on the main thread only; a signal
    that is ignored stays so.
    """
    handler = signal.getsignal(signal.SIGTERM)
    installs_handler = (
        threading.current_thread() is threading.main_thread() and handler is not signal.SIG_IGN
    )
    environment = dict(os.environ)
    levels = {name: logging.getLogger(name).level for name in QUIET_LOGGERS}
    if installs_handler:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        if installs_handler:
            signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def entry() -> None:
    """`main`, without the interpreter's farewell: to take torch apart lasts two seconds or more."""
    code: object = 0
    try:
        main()
    except SystemExit as exit_request:
        code = exit_request.code
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever read it has left
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        code = build_app(next(iter(arguments), None))(arguments, standalone_mode=False)
    except typer.Abort:
        return _print_error("stopped", 130)
    except StudyInterrupted as interruption:
        return _print_error(
            f"{interruption}; continue with: {_shell_command(arguments)}", interruption.exit_code
        )
    except KeyboardInterrupt:
        return _print_error(f"interrupted{_continuation_hint(arguments)}", 130)
    except TerminationSignal:
        return _print_error(f"terminated{_continuation_hint(arguments)}", 143)
    except HarnessError as error:
        if debug:
            raise
        return _print_error(f"error: {error}", 2 if isinstance(error, UserError) else 1)
    except BrokenPipeError:
        return 1  # whoever read our output has left
    except Exception as error:
        if isinstance(error, OSError) and error.errno in REMEDIES and not debug:
            return _print_error(f"error: {_describe_os_error(error)}", 2)
        show = getattr(error, "show", None)  # what the parser has to say about the command line
        if show is not None:
            show()
            return 2
        if debug:
            raise
        hint = "run again with --debug for the traceback, and please report it"
        return _print_error(f"internal error: {type(error).__name__}: {error}; {hint}", 1)
    return code if isinstance(code, int) else 0


def _describe_os_error(error: OSError) -> str:
    """An error of the file system in one line: the file, what is wrong, what to do."""
    assert error.errno is not None, "only those with a remedy come here"
    location = ""
    if isinstance(error.filename, str | bytes | os.PathLike):
        path = Path(os.fsdecode(error.filename))
        name = TEMPORARY_NAME.sub(r"\1", path.name)
        location = f"{path.with_name(name)}: "
    return f"{location}{error.strerror}; {REMEDIES[error.errno]}"


def _continuation_hint(arguments: list[str]) -> str:
    """What the same command does next: only a study is resumed, all else begins anew."""
    return (
        "; the same command continues where it stopped"
        if arguments[:1] in RESUMABLE_COMMANDS
        else ""
    )


def _shell_command(arguments: list[str]) -> str:
    """The same command, to be pasted into a shell."""
    return shlex.join(["harness", *arguments])


def _print_error(text: str, code: int) -> int:
    sys.stderr.write(text + "\n")
    return code


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise TerminationSignal
