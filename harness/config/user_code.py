"""Files and packages of users that register networks, losses and metrics.

A file is code of the user. It is executed when a study runs, never when a study is only read, e.g.
by a report.
"""

import hashlib
import re
import stat
import sys
import traceback
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from pydantic import Field, field_validator

from harness.config.component_interface import PACKAGE_PREFIX
from harness.config.components import registration_scope, unregister_origin
from harness.core.errors import ConfigError
from harness.core.settings import StrictSettings

ENTRY_POINT_GROUP = "harness.parts"  # entry points to modules that register on import
MAX_BYTES = 1_000_000
# A plain name: study.yaml may come from another person, and must not point outside its folder.
PARTS_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.py")


def expand_parts_config(value: Any) -> Any:
    """Expand the short form `parts: parts.py` to `parts: {file: parts.py}`."""
    return {"file": value} if isinstance(value, str) else value


class PartsConfig(StrictSettings):
    """Python file with user-defined networks, losses and metrics; short form: `parts: parts.py`."""

    file: str = Field(description="name of the file next to study.yaml")
    # A changed file would change the meaning of earlier trials. It is compared before the file is
    # executed.
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="SHA-256 of the file; written when the study starts"
    )

    @field_validator("file")
    @classmethod
    def _check_file_name(cls, name: str) -> str:
        if not PARTS_FILE_NAME.fullmatch(name):
            raise ValueError(f"must be the plain name of a .py file next to study.yaml: {name!r}")
        return name


@dataclass(frozen=True)
class PartsFile:
    """File of user code with the contents that were read.

    The same bytes are hashed and executed, so no change of the file can come between the two.

    Attributes:
        sha256: SHA-256 of the contents, 64 hexadecimal digits.
    """

    path: Path
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    # By contents, not by name: two studies may have different files of one name.
    @property
    def module_name(self) -> str:
        return f"harness_parts_{self.sha256[:16]}"


_registered_files: list[PartsFile] = []  # at most one: the file whose components are registered


def read_parts_file(path: Path) -> PartsFile:
    """Read a file without executing it.

    Raises:
        ConfigError: it is not a regular file of at most 1 MB of UTF-8 text.
    """
    try:
        # lstat before open: opening a named pipe would wait for a writer forever.
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ConfigError(f"{path}: not a regular file; name a Python file")
        with path.open("rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than 1 MB; name a Python file")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text, so not a Python file") from None
    return PartsFile(path, data)


def register_parts_file(file: PartsFile | None) -> None:
    """Register the components of a file in place of those of the previous file; None: only remove.

    The file is not executed again while it is the registered one and has not changed.

    Raises:
        ConfigError: the problem with its line in the file; then no file is registered.
    """
    if _registered_files and _registered_files[0] == file:
        return
    # Before the new file is executed: it may register the same names, which would be refused.
    while _registered_files:
        previous = _registered_files.pop()
        unregister_origin(str(previous.path))
        sys.modules.pop(previous.module_name, None)
    if file is None:
        return
    try:
        with registration_scope(str(file.path)):
            _execute_file(file)
    except BaseException:
        sys.modules.pop(file.module_name, None)
        raise
    _registered_files.append(file)


@cache
def register_packages() -> tuple[str, ...]:
    """Register the components of installed packages, once in a process.

    Returns:
        One line for each package that failed; the others are registered.
    """
    # Cached, since a second `load` would return modules that Python has imported already: their
    # decorators would not run, and a package that failed would be reported again.
    problems = (_register_package(point) for point in entry_points(group=ENTRY_POINT_GROUP))
    return tuple(problem for problem in problems if problem is not None)


def locate_error(error: BaseException, file: str) -> str:
    """Location `file:line` of an error: the innermost frame of the traceback in that file.

    Args:
        file: a path as in tracebacks, or e.g. the name of a package.

    Returns:
        `file` alone if no frame is in it.
    """
    # A file with a syntax error has no frame, since it was not executed.
    if isinstance(error, SyntaxError) and error.filename == file and error.lineno:
        return f"{file}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return f"{file}:{lines[-1]}" if lines else file


def describe_exception(error: BaseException) -> str:
    """Format type and message of an exception on one line: `ValueError: unknown width`."""
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    text = " ".join(message.split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _execute_file(file: PartsFile) -> None:
    name = str(file.path)
    module = ModuleType(file.module_name)
    module.__file__ = name
    sys.modules[file.module_name] = module  # signatures and dataclasses look their names up there
    try:
        # Executing the user's file is the purpose; callers have compared a recorded hash.
        exec(compile(file.data, name, "exec"), module.__dict__)  # noqa: S102
    except ConfigError as error:
        location = locate_error(error, name)
        messages = [problem.removeprefix(f"{name}: ") for problem in error.problems]
        raise ConfigError([f"{location}: {problem}" for problem in messages]) from error
    except (Exception, SystemExit) as error:  # sys.exit() in a file must not end the study
        raise ConfigError(f"{locate_error(error, name)}: {describe_exception(error)}") from error


def _register_package(point: EntryPoint) -> str | None:
    package = point.dist.name if point.dist else point.value
    try:
        with registration_scope(f"{PACKAGE_PREFIX}{package}"):
            point.load()
    except (Exception, SystemExit) as error:
        # Not fatal, unlike an error in the study's file: no setting may need this package.
        return (
            f"parts of package {package} are not registered ({point.value}: "
            f"{describe_exception(error)})"
        )
    return None
