"""Entry point of `harness`: builds the command that is given, and maps errors to exit codes.

0 done · 1 failed · 2 the user must change something · 130 or 143 interrupted, can be continued.
"""

import argparse
import atexit
import contextlib
import errno
import logging
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from harness.cli.commands import COMMANDS
from harness.cli.completion import LENIENT, completes_value, value_command
from harness.core.errors import HarnessError, StudyInterrupted, UserError
from harness.core.files import TEMPORARY_NAME
from harness.core.processors import openmp_defaults

RESUMABLE_COMMANDS = (["run"], ["confirm"], ["predict"], ["demo"])
# Their --study is one that exists.
STUDY_COMMANDS = (
    *(["confirm"], ["test"], ["report"], ["predict"], ["export"], ["trials"], ["sync"]),
    ["report-bug"],
)
COMPLETION_VARIABLE = "_HARNESS_COMPLETE"  # set by the script of --install-completion
HELP_NAMES = ["-h", "--help"]
_INTERRUPTED = 128 + signal.SIGINT
QUIET_LOGGERS = ("alembic", "mlflow", "optuna", "urllib3.connectionpool")  # during a command
# Errors of the file system that a user can repair, by errno. All others, such as EIO, are bugs or
# broken disks, and are reported with the traceback at hand (--debug).
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


def build_app(selected: str | None) -> typer.Typer:
    """Build the command line: `selected` can run, the other commands are only listed."""
    app = typer.Typer(
        name="harness",
        help="Hyperparameter studies of segmentation networks: run, rank honestly, see.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": HELP_NAMES},  # of every command, too
    )
    app.callback()(_program_options)
    for name, (module, function, line) in COMMANDS.items():
        if name != selected:
            app.command(name, help=line)(_placeholder_command)
            continue
        if completes_value(words_to_complete()):
            app.command(name, help=line, context_settings=LENIENT)(value_command)
            continue
        command_module = import_module(f"harness.cli.{module}")
        if function is None:
            app.add_typer(command_module.app, name=name)
        else:
            # A module may define how its command reads its arguments.
            command_class = getattr(command_module, "CommandClass", None)
            app.command(name, cls=command_class)(getattr(command_module, function))
    return app


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version  # noqa: PLC0415  # rarely needed

        typer.echo(f"harness {version('segmentation-harness')}")
        raise typer.Exit


def _program_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None: ...


def _placeholder_command() -> None:
    raise AssertionError("a command runs that was not selected")


class TerminationSignal(BaseException):
    """Raised in the main thread when SIGTERM arrives."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    # Taken out here, so that it is legal at any position and no command has to declare it.
    arguments = [argument for argument in arguments if argument != "--debug"]
    with _preserve_process_state():
        code = _run(arguments, debug=debug)
    sys.exit(code)


@contextlib.contextmanager
def _preserve_process_state() -> Iterator[None]:
    """Raise TerminationSignal on SIGTERM; restore signals, environment and log levels at the end.

    A test or a notebook may call `main`. Handlers can be set on the main thread only; a signal
    that is ignored (`nohup`) stays ignored.
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
            # getsignal gives None for a handler that C code installed; it cannot be set again.
            signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def entry() -> None:
    """Run `main` as the installed command, and exit without finalising the interpreter.

    Destroying torch's modules takes two seconds or more. Exit handlers and buffers are run and
    flushed here, as `os._exit` skips both.
    """
    os.environ.update(openmp_defaults(os.environ))  # before any command imports torch
    code: object = 0
    try:
        main()
    except SystemExit as exit_request:
        code = exit_request.code
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the reader of a pipe may be gone
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _require_named_study(arguments: list[str]) -> None:
    """Refuse an unknown study at once: the modules of these commands take seconds to import.

    Raises:
        ConfigError: the workspace has no study of that name.
    """
    if arguments[:1] not in STUDY_COMMANDS or set(HELP_NAMES) & set(arguments):
        return
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--study", nargs="?")
    parser.add_argument("--workspace", nargs="?", default=Path())
    options, _ = parser.parse_known_args(arguments[1:])
    if options.study is not None and options.workspace is not None:
        from harness.config.study_files import require_study_yaml  # noqa: PLC0415  # pydantic
        from harness.core.paths import Workspace  # noqa: PLC0415  # as above

        require_study_yaml(Workspace.at(options.workspace).study(options.study))


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        _require_named_study(arguments)
        selected = next(iter(arguments or words_to_complete()), None)
        code = build_app(selected)(arguments, standalone_mode=False)
    except typer.Abort:
        return _print_error("stopped", 130)
    except StudyInterrupted as interruption:
        return _print_error(
            f"{interruption}; continue with: {_shell_command(arguments)}", interruption.exit_code
        )
    except KeyboardInterrupt:
        return _print_error(f"interrupted{_continuation_hint(arguments)}", _INTERRUPTED)
    except TerminationSignal:
        return _print_error(f"terminated{_continuation_hint(arguments)}", 143)
    except HarnessError as error:
        if debug:
            raise
        return _print_error(f"error: {error}", 2 if isinstance(error, UserError) else 1)
    # A subclass of OSError, so it must stand before the
    # branch that explains errors of the file system.
    except BrokenPipeError:
        return 1  # e.g. `harness trials | head`
    except Exception as error:
        if isinstance(error, OSError) and error.errno in REMEDIES and not debug:
            return _print_error(f"error: {_describe_os_error(error)}", 2)
        # By attribute: typer may bundle its own copy of click, whose exceptions are other classes.
        show = getattr(error, "show", None)  # click's usage errors print themselves
        if show is not None:
            show()
            return 2
        if debug:
            raise
        hint = "run again with --debug for the traceback, and please report it"
        return _print_error(f"internal error: {type(error).__name__}: {error}; {hint}", 1)
    if code == _INTERRUPTED:  # typer makes this code of a KeyboardInterrupt, and prints nothing
        return _print_error(f"interrupted{_continuation_hint(arguments)}", _INTERRUPTED)
    return code if isinstance(code, int) else 0


def words_to_complete() -> list[str]:
    """Words behind `harness` that a shell asks to complete; [] outside of a completion."""
    if COMPLETION_VARIABLE not in os.environ:
        return []
    line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    try:
        return shlex.split(line)[1:]
    except ValueError:  # a quotation that is still open
        return line.split()[1:]


def _describe_os_error(error: OSError) -> str:
    """Describe an error of the file system in one line: file, cause, remedy."""
    assert error.errno is not None, "the caller has looked its remedy up"
    location = ""
    if isinstance(error.filename, str | bytes | os.PathLike):
        path = Path(os.fsdecode(error.filename))
        # A user knows only the final name.
        name = TEMPORARY_NAME.sub(r"\1", path.name)
        location = f"{path.with_name(name)}: "
    return f"{location}{error.strerror}; {REMEDIES[error.errno]}"


def _continuation_hint(arguments: list[str]) -> str:
    """Hint for an interrupted command: these continue, the others start again."""
    return (
        "; the same command continues where it stopped"
        if arguments[:1] in RESUMABLE_COMMANDS
        else ""
    )


def _shell_command(arguments: list[str]) -> str:
    """The same command, quoted so that it can be pasted into a shell."""
    return shlex.join(["harness", *arguments])


def _print_error(text: str, code: int) -> int:
    sys.stderr.write(text + "\n")
    return code


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise TerminationSignal
