"""Child process that answers questions about networks, see `network_process`.

`python -m harness.search.definition.network_service`: questions on standard input, answers on
standard output, everything that is printed on standard error.
"""

import json
import pickle
import select
import signal
import sys
import traceback
from dataclasses import asdict, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel

from harness.training.worker.parent_death import bind_to_parent

bind_to_parent()  # before the imports that take seconds

from harness.config.user_code import (  # noqa: E402
    PartsFile,
    register_packages,
    register_parts_file,
)
from harness.core.errors import ConfigError, HarnessError  # noqa: E402
from harness.search.definition.network_checks import LocalNetworks  # noqa: E402
from harness.training.worker.worker_channel import redirect_stdout_to_log  # noqa: E402

# A login node has little memory: hundreds of megabytes are returned if nobody asks.
IDLE_S = 60.0
QUESTIONS = frozenset(
    {
        *("names", "encoder_problem", "option_problem", "check_augments", "check_networks"),
        *("refusals", "ensure_weights", "weight_files", "config_refusal", "plan_imports"),
    }
)


def main() -> None:
    """Answer until standard input closes or nobody asks for `IDLE_S`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the controller's to handle
    answers, questions = redirect_stdout_to_log(), sys.stdin.buffer
    register_packages()  # the controller has reported the broken ones
    networks = LocalNetworks()
    # One question is on its way at a time, so that none waits in a buffer that select cannot see.
    while select.select([questions], [], [], IDLE_S)[0]:
        try:
            # A pickle of the parent, which has started this process: no other one can write here.
            parts, question, arguments = pickle.load(questions)  # noqa: S301
        except EOFError:
            return
        _send(answers, _answer(networks, parts, question, arguments, answers))


def _answer(
    networks: LocalNetworks,
    parts: PartsFile | None,
    question: str,
    arguments: tuple[Any, ...],
    answers: BinaryIO,
) -> dict[str, Any]:
    assert question in QUESTIONS, question
    try:
        register_parts_file(parts)  # once, unless it changes
        method = getattr(networks, question)
        if question == "check_networks":
            on_progress = partial(_send_progress, answers)
            return {"result": _as_json(method(*arguments, on_progress))}
        return {"result": _as_json(method(*arguments))}
    except ConfigError as error:
        return {"error": {"kind": "ConfigError", "lines": error.problems}}
    except HarnessError as error:
        return {"error": {"kind": type(error).__name__, "lines": str(error).splitlines()}}
    except Exception as error:
        traceback.print_exc()
        return {"error": {"kind": "HarnessError", "lines": [f"{type(error).__name__}: {error}"]}}


def _send_progress(answers: BinaryIO, n_done: int, total: int | None) -> None:
    _send(answers, {"progress": [n_done, total]})


def _send(answers: BinaryIO, reply: dict[str, Any]) -> None:
    answers.write(json.dumps(reply).encode() + b"\n")
    answers.flush()


def _as_json(value: Any) -> Any:
    """Plain form of a result."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value


if __name__ == "__main__":
    main()
