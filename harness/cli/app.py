"""The commands of `harness`, and how errors become exit codes.

0 done · 1 failed · 2 the user must change something · 130 or 143 interrupted, to be continued.
"""

import shlex
import signal
import sys
from types import FrameType

import typer

from harness.cli import check, config, confirm, data, lr_find, report, run, sync, trials, ui
from harness.errors import HarnessError, StudyInterrupted, UserError

CONTINUE = (["run"], ["confirm"])

app = typer.Typer(
    name="harness",
    help="Hyperparameter studies of segmentation networks: run, rank honestly, see.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(run.run)
app.command()(check.check)
app.command()(report.report)
app.command()(confirm.confirm)
app.command()(trials.trials)
app.command()(config.config)
app.add_typer(data.app, name="data")
app.command("lr-find")(lr_find.lr_find)
app.command()(sync.sync)
app.command()(ui.ui)


class Terminated(BaseException):
    """SIGTERM arrived."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_run(arguments, debug=debug))


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        code = app(arguments, standalone_mode=False)
    except typer.Abort:
        return _say("stopped", 130)
    except StudyInterrupted as stopped:
        return _say(f"{stopped}; continue with: {_again(arguments)}", stopped.exit_code)
    except KeyboardInterrupt:
        return _say(f"interrupted{_onwards(arguments)}", 130)
    except Terminated:
        return _say(f"terminated{_onwards(arguments)}", 143)
    except HarnessError as error:
        if debug:
            raise
        return _say(f"error: {error}", 2 if isinstance(error, UserError) else 1)
    except BrokenPipeError:
        return 1  # whoever read our output has left
    except Exception as error:
        show = getattr(error, "show", None)  # what the parser has to say about the command line
        if show is not None:
            show()
            return 2
        if debug:
            raise
        hint = "run again with --debug for the traceback, and please report it"
        return _say(f"internal error: {type(error).__name__}: {error}; {hint}", 1)
    return code if isinstance(code, int) else 0


def _onwards(arguments: list[str]) -> str:
    """What the same command does next: only a study is resumed, all else begins anew."""
    return "; the same command continues where it stopped" if arguments[:1] in CONTINUE else ""


def _again(arguments: list[str]) -> str:
    """The same command, to be pasted into a shell."""
    return shlex.join(["harness", *arguments])


def _say(text: str, code: int) -> int:
    sys.stderr.write(text + "\n")
    return code


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated
