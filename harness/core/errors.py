"""Tree of errors, sorted by the person who has to act.

HarnessError
├── UserError            the user must change something: one line, exit code 2, no traceback
│   ├── ConfigError      a space, study or trial configuration: every problem at once
│   ├── DataError        images, masks, splits, archives
│   └── WeightsError     pretrained weights that cannot be had
├── StudyStoppedError    the study stopped itself and says why: exit code 1
└── TrackingError        MLflow cannot be reached or did not take everything: exit code 1

StudyInterrupted         a signal; like KeyboardInterrupt no Exception, as nothing has failed
"""

import signal
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches
from itertools import takewhile


class HarnessError(Exception):
    """Base of everything raised on purpose."""


class UserError(HarnessError):
    """The user must change something. The message says what is wrong, where, and what to do."""


class ConfigError(UserError):
    """One or more problems in configuration; each line is `place: key: what, and what instead`."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(UserError):
    """Images, masks, splits or archives that cannot be used as they are."""


class WeightsError(UserError):
    """Pretrained weights that are neither in the local cache nor to be downloaded."""


class StudyStoppedError(HarnessError):
    """The study ended itself: the same cause failed several trials in a row."""


class StudyInterrupted(BaseException):
    """A signal ended the study, which can be continued: exit code 128 + its number."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(f"interrupted by {signal.Signals(number).name}")


class TrackingError(HarnessError):
    """MLflow cannot be reached, or did not take everything. Nothing is lost: it is a mirror."""


def suggest_nearest(word: str, candidates: Iterable[str], *, max_listed: int = 15) -> str:
    """The end of an error message: the nearest known word, or all of them when they are few.

    Capitals, and an ending that many known words share (`.yaml`), do not make words alike; of words
    equally near the shorter difference in length wins, then the longest common end (of `0003`
    that is `003`, not `000`), then the same capitals (of `fnc` that is `fcn`, not `FPN`), then the
    first by name.

    Returns:
        `; did you mean X?`, else `; choose from A, B, C`, else an empty text.
    """
    words = sorted({str(name) for name in candidates})
    close = _closest(word, words)
    if not close:  # a misspelt last part still points to the full key
        last_part = _normalize_word(word).rsplit(".", 1)[-1]
        close = [name for name in words if _normalize_word(name).rsplit(".", 1)[-1] == last_part][
            :1
        ]
    if close:
        return f"; did you mean {close[0]}?"
    return f"; choose from {', '.join(words)}" if 0 < len(words) < max_listed else ""


_KNOWN_SUFFIXES = (".yaml", ".yml", ".csv", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".py")


def _closest(word: str, words: Sequence[str]) -> list[str]:
    """The known word that is most like another one, in a list; [] where none is."""
    normalized_word = _normalize_word(word)
    normalized = {name: _normalize_word(name) for name in words}
    close_names = set(
        get_close_matches(
            normalized_word, list(dict.fromkeys(normalized.values())), n=5, cutoff=0.6
        )
    )
    matches = [name for name in words if normalized[name] in close_names]

    def rank(name: str) -> tuple[float, int, int, float, str]:
        ratio = SequenceMatcher(None, normalized[name], normalized_word).ratio()
        letter_pairs = zip(reversed(normalized[name]), reversed(normalized_word), strict=False)
        common_end = sum(
            1 for _ in takewhile(lambda letters: letters[0] == letters[1], letter_pairs)
        )
        exact_ratio = SequenceMatcher(None, name, word).ratio()
        return (
            -ratio,
            abs(len(normalized[name]) - len(normalized_word)),
            -common_end,
            -exact_ratio,
            name,
        )

    return sorted(matches, key=rank)[:1]


def _normalize_word(word: str) -> str:
    """A word as it is compared: in small letters, without the ending of a file."""
    small = word.casefold()
    suffix = next((end for end in _KNOWN_SUFFIXES if small.endswith(end) and small != end), "")
    return small.removesuffix(suffix)
