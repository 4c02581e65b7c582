"""Network libraries in a child process, so that this one imports no torch.

The child answers question by question (`network_service`): arguments go there as pickles, results
come back as JSON. It ends when nobody asks for some time, and starts again for the next question.
"""

import contextlib
import json
import pickle
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config.imports import ImportConfig
from harness.config.study import ModelConfig
from harness.config.user_code import PartsFile
from harness.core import errors
from harness.core.errors import ConfigError, HarnessError
from harness.core.paths import StudyPaths, Workspace
from harness.data.splits.splits import SplitRow
from harness.execution import interpreter
from harness.preflight.combinations import network_config
from harness.preflight.network_key import PreflightSetting
from harness.search.definition.component_checks import PreflightCallback
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.network_library import LibraryNames, NetworkSummary, refusal_key

MODULE = "harness.search.definition.network_service"
END_S = 10.0  # for the child to end after its input was closed


class NetworkProcess:
    """Network libraries in a child process; a `NetworkLibrary` that any thread may ask.

    Args:
        parts: file of user-defined components, which the child registers.
    """

    def __init__(self, parts: PartsFile | None, module: str = MODULE) -> None:
        self._parts, self._module = parts, module
        self._child: subprocess.Popen[bytes] | None = None
        self._names: LibraryNames | None = None
        self._refusals: dict[str, str | None] = {}
        self._weight_files: dict[tuple[str, str], tuple[Path, list[str]]] = {}
        self._lock = threading.Lock()

    def names(self) -> LibraryNames:
        self._names = self._names or LibraryNames(**self._ask("names"))
        return self._names

    def encoder_problem(self, name: Any) -> str | None:
        return _text(self._ask("encoder_problem", name))

    def option_problem(self, name: str, value: Any) -> str | None:
        return _text(self._ask("option_problem", name, value))

    def check_augments(
        self, definition: StudyDefinition, workspace: Workspace, paths: StudyPaths
    ) -> list[Path]:
        return [Path(path) for path in self._ask("check_augments", definition, workspace, paths)]

    def check_networks(
        self,
        definition: StudyDefinition,
        n_train: int | None,
        on_progress: PreflightCallback | None = None,
    ) -> NetworkSummary:
        summary = self._ask("check_networks", definition, n_train, on_progress=on_progress)
        # Asked now, while the child is there: both decide about the configurations of trials.
        self._refusals, self._names = self._ask("refusals"), self.names()
        encoders = [(name, weights) for name, weights in summary.pop("pretrained_encoders")]
        return NetworkSummary(**summary, pretrained_encoders=encoders)

    def ensure_weights(self, encoders: Sequence[tuple[str, str]]) -> None:
        self._ask("ensure_weights", list(encoders))
        for name, weights in encoders:  # asked now, while the child is there
            model = {"encoder_name": name, "encoder_weights": weights}
            self.weight_files(ModelConfig.model_validate(model))

    def weight_files(self, model: ModelConfig) -> tuple[Path, list[str]] | None:
        is_idle = "model.encoder_weights" in self.names().inactive_keys[model.arch]
        if model.encoder_weights is None or is_idle:
            return None
        key = model.encoder_name, model.encoder_weights
        if key not in self._weight_files:
            plain = ModelConfig(encoder_name=key[0], encoder_weights=model.encoder_weights)
            folder, paths = self._ask("weight_files", plain)
            self._weight_files[key] = Path(folder), list(paths)
        return self._weight_files[key]

    def config_refusal(
        self, definition: StudyDefinition, n_train: int, values: Mapping[str, Any]
    ) -> str | None:
        try:
            config = network_config(definition.space, values)
        except ConfigError as error:
            return "; ".join(error.problems)
        setting = PreflightSetting.from_data(definition.config.data, n_train)
        is_single = setting.has_single_image_batch(config)
        key = refusal_key(config, is_single, self.names().inactive_keys)
        if key not in self._refusals:
            refusal = self._ask("config_refusal", definition, n_train, dict(values))
            self._refusals[key] = _text(refusal)
        return self._refusals[key]

    def plan_imports(
        self,
        names: Sequence[str],
        paths: StudyPaths,
        definition: StudyDefinition,
        split: Sequence[SplitRow],
        augments: Sequence[Path],
    ) -> tuple[ImportConfig, ...]:
        plans = self._ask(
            "plan_imports", list(names), paths, definition, list(split), list(augments)
        )
        return tuple(ImportConfig.model_validate(plan) for plan in plans)

    def close(self) -> None:
        """End the child; what it found out is kept."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None and child.stdout is not None
        with contextlib.suppress(OSError):
            child.stdin.close()
        try:
            child.wait(END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()

    def _ask(
        self, question: str, *arguments: Any, on_progress: PreflightCallback | None = None
    ) -> Any:
        """Result of a question.

        Raises:
            UserError: as the question raises it there.
            HarnessError: the child ended without an answer.
        """
        with self._lock:
            try:
                message = pickle.dumps((self._parts, question, arguments))
                return self._exchange(message, on_progress)
            except HarnessError:
                raise
            except BaseException:  # Ctrl-C: an answer that nobody waits for may still come
                if self._child is not None:
                    self._child.kill()
                self.close()
                raise

    def _exchange(self, message: bytes, on_progress: PreflightCallback | None) -> Any:
        if self._child is not None and self._child.poll() is not None:
            self.close()  # nobody had asked for some time, or the thread that started it has ended
        is_new = self._child is None
        self._child = child = self._child or self._start()
        assert child.stdin is not None and child.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # its end is noticed below
            child.stdin.write(message)
            child.stdin.flush()
        for line in child.stdout:
            reply = json.loads(line)
            if "progress" in reply:
                if on_progress is not None:
                    on_progress(*reply["progress"])
            elif "error" in reply:
                raise _read_error(**reply["error"])
            else:
                return reply["result"]
        code = child.wait()
        self.close()
        if code == 0 and not is_new:  # it ended between that look and the question
            return self._exchange(message, on_progress)
        raise HarnessError(
            f"the process that checks networks ended (code {code}), perhaps for lack of memory; "
            "run the command again"
        )

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            interpreter.module_command(self._module),
            env=interpreter.child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal reaches this process alone
        )


def _read_error(kind: str, lines: list[str]) -> HarnessError:
    error_class = getattr(errors, kind, HarnessError)
    if error_class is ConfigError:
        return ConfigError(lines)
    is_known = isinstance(error_class, type) and issubclass(error_class, HarnessError)
    return (error_class if is_known else HarnessError)("\n".join(lines))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
