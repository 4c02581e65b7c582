"""Tree of errors, sorted by the person who must act.

HarnessError
├── UserError            the user must change something: one line, exit code 2, no traceback
│   ├── ConfigError      a space, study or trial configuration: all problems together
│   ├── DataError        images, masks, splits, archives
│   └── WeightsError     pretrained weights that are not available
├── StudyStoppedError    the study stopped itself and gives the reason: exit code 1
└── TrackingError        MLflow is unreachable or refused data: exit code 1

StudyInterrupted         a signal; like KeyboardInterrupt not an Exception, since nothing failed
"""

import signal
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches
from itertools import takewhile


class HarnessError(Exception):
    """Base of all errors that this package raises on purpose."""


class UserError(HarnessError):
    """An error that the user can fix. The message gives the place, the fault and the remedy."""


class ConfigError(UserError):
    """One or more problems in configuration, one line each: `place: key: fault; remedy`.

    Attributes:
        problems: the lines.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(UserError):
    """Images, masks, splits or archives that cannot be used in their present state."""


class WeightsError(UserError):
    """Pretrained weights that are not in the local cache and cannot be downloaded."""


class StudyStoppedError(HarnessError):
    """The study stopped itself: several consecutive trials failed with the same cause."""


# A BaseException, so that `except Exception` around user code and trials cannot swallow it.
class StudyInterrupted(BaseException):
    """A signal ended the study, which the next run continues.

    Attributes:
        exit_code: 128 + number of the signal.
    """

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number  # the convention of POSIX shells: 130 for Ctrl-C
        super().__init__(f"interrupted by {signal.Signals(number).name}")


class TrackingError(HarnessError):
    """MLflow is unreachable or refused data. Nothing is lost, since MLflow has copies only."""


def suggest_nearest(word: str, candidates: Iterable[str], *, max_listed: int = 15) -> str:
    """End of an error message about an unknown word: the most similar legal word, or all of them.

    Case and file suffixes such as `.yaml` do not count as similarity. Of equally similar words the
    order is: smaller difference in length, longer common end (for `0003` it is `003`, not `000`),
    same case (for `fnc` it is `fcn`, not `FPN`), name.

    Args:
        max_listed: without a similar word, fewer legal words than this are listed.

    Returns:
        `; did you mean X?`, else `; choose from A, B, C`, else an empty text.
    """
    words = sorted({str(name) for name in candidates})
    close = _closest(word, words)
    if not close:  # `lr` or `model.lr` for `optim.lr`: the last part alone identifies the key
        last_part = _normalize_word(word).rsplit(".", 1)[-1]
        close = [name for name in words if _normalize_word(name).rsplit(".", 1)[-1] == last_part][
            :1
        ]
    if close:
        return f"; did you mean {close[0]}?"
    return f"; choose from {', '.join(words)}" if 0 < len(words) < max_listed else ""


# A shared suffix makes short names similar: `polyp.yaml` would match `unetpp.yaml`.
_KNOWN_SUFFIXES = (".yaml", ".yml", ".csv", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".py")


def _closest(word: str, words: Sequence[str]) -> list[str]:
    """List with the legal word most similar to `word`; [] if no word is similar."""
    normalized_word = _normalize_word(word)
    normalized = {name: _normalize_word(name) for name in words}
    close_names = set(
        get_close_matches(
            normalized_word, list(dict.fromkeys(normalized.values())), n=5, cutoff=0.6
        )
    )
    matches = [name for name in words if normalized[name] in close_names]

    # Several matches are ranked here: of equal ratios get_close_matches prefers the word that is
    # last in the alphabet.
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
    """Lower-case form of a word without a file suffix, for comparison."""
    small = word.casefold()
    suffix = next((end for end in _KNOWN_SUFFIXES if small.endswith(end) and small != end), "")
    return small.removesuffix(suffix)
