"""Masking of secrets and personal data in texts that a user may publish."""

import contextlib
import getpass
import os
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.tracking.uri import SECRET_PATTERN, redact_secrets

MASK = "***"
# A key that names a secret, and its value: `token: x`, `"api_key": "x"`, `?password=x`.
_ASSIGNMENT = re.compile(
    r"""([\w.-]*(?:passw|pwd|token|secret|credential|api[_-]?key|access[_-]?key)"""
    r"""[\w.-]*["']?\s*[=:]\s*)("[^"\n]*"|'[^'\n]*'|[^\s,;&)}\]]+)""",
    re.IGNORECASE,
)
# Tokens that are recognised by their form: Hugging Face, GitHub, AWS, and any Bearer header.
_TOKEN = re.compile(
    r"\bhf_\w{16,}|\bgh[a-z]_\w{16,}|\bgithub_pat_\w{16,}|\bAKIA[0-9A-Z]{12,}|(?<=[Bb]earer )\S+"
)
_MIN_VALUE = 8  # characters; shorter values of variables are words such as `1` or `xterm`
_MIN_SECRET = 4
_MIN_NAME = 3  # characters of a user or machine name; shorter ones are parts of words
_ANONYMOUS = {"root", "localhost", "user", "runner"}  # these identify nobody


@dataclass(frozen=True)
class PersonalData:
    """Strings of this machine that must not be published.

    Attributes:
        environment: environment variables; their values become `$NAME`.
        home: home folder; it becomes `~`.
        names: names of the user and of the machine, and what they become.
    """

    environment: Mapping[str, str]
    home: str
    names: Mapping[str, str]

    @classmethod
    def of_this_machine(cls) -> "PersonalData":
        names = {socket.gethostname(): "HOST"}
        with contextlib.suppress(KeyError, OSError):  # a container without an entry for its user
            names[getpass.getuser()] = "USER"
        return cls(dict(os.environ), str(Path.home()), names)


def mask_text(text: str, personal: PersonalData, file_names: Iterable[tuple[str, str]] = ()) -> str:
    """Replace secrets, values of the environment, the home folder, and names.

    Args:
        file_names: names of images and masks, with what they become: they may identify a patient.
    """
    for name, replacement in sorted(file_names, key=lambda pair: -len(pair[0])):
        text = text.replace(name, replacement)
    text = _TOKEN.sub(MASK, redact_secrets(text))
    text = _ASSIGNMENT.sub(rf"\1{MASK}", text)
    # The home folder first: variables such as PWD begin with it, and `~/x` says more than `$PWD`.
    if len(personal.home) > 1:
        text = re.sub(rf"{re.escape(personal.home)}(?=$|[/\s\"':,;)\]])", "~", text, flags=re.M)
    for name, value in sorted(personal.environment.items(), key=lambda item: -len(item[1])):
        is_secret = bool(SECRET_PATTERN.search(name)) or name.upper().endswith("KEY")
        if len(value) >= (_MIN_SECRET if is_secret else _MIN_VALUE):
            text = text.replace(value, MASK if is_secret else f"${name}")
    for name, replacement in personal.names.items():
        if len(name) >= _MIN_NAME and name not in _ANONYMOUS:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", replacement, text)
    return text
