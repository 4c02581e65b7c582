"""`fixed: {model.encoder_name: {from: encoders}}`: a value from another study's best trial.

It is looked up once, before the study begins. From then on study.yaml holds the plain value under
`fixed`, and under `taken` where it came from.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness import strict_yaml
from harness.config import StudyConfig, TrialConfig
from harness.earlier_config import TakenConfig
from harness.errors import ConfigError, UserError, nearest
from harness.paths import StudyPaths
from harness.search.earlier import open_earlier, winner
from harness.settings import flatten
from harness.space.keys import full_key, problem_with
from harness.space.schema import Legal

FROM = "from"


@dataclass
class Taking:
    """Fixed values with those of other studies filled in.

    Attributes:
        fixed: what was written, with plain values; without what could not be taken.
        taken: where values came from, by full key.
        problems: what could not be taken and why, each with its place.
    """

    fixed: dict[str, Any] = field(default_factory=dict)
    taken: dict[str, TakenConfig] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def is_reference(value: Any) -> bool:
    """Whether a fixed value is written as `{from: <study>}`, rightly or wrongly."""
    return isinstance(value, Mapping) and FROM in value


def take(
    fixed: Mapping[str, Any], paths: StudyPaths, place: Callable[[str], str], legal: Legal
) -> Taking:
    """Look up every value that is to come from another study.

    Args:
        fixed: full or short keys; values as written.
        paths: the folder of the study that takes; others are looked for beside it.
        place: what problems call the place of a key of `fixed`, e.g. `study.yaml:4`.
        legal: legal values.
    """
    taking = Taking()
    for written, value in fixed.items():
        if not is_reference(value):
            taking.fixed[written] = value
            continue
        try:
            key = full_key(written, legal)
            found = _look_up(key, value, paths)
            problem = problem_with(key, found.value, legal)
            if problem is not None:
                raise ConfigError(f"trial {found.trial} of {found.study}: {problem}")
        except UserError as error:
            taking.problems += [
                f"{place(written)}: {written}: {line}" for line in str(error).splitlines()
            ]
            continue
        taking.fixed[written] = found.value
        taking.taken[key] = found
    return taking


def as_taken(fixed: Mapping[str, Any], paths: StudyPaths, config: StudyConfig) -> dict[str, Any]:
    """`--set` of a study that has begun: what was taken then, and not looked up again.

    Raises:
        ConfigError: a value that the study did not take from there.
    """
    plain: dict[str, Any] = {}
    problems = []
    for written, value in fixed.items():
        if not is_reference(value):
            plain[written] = value
            continue
        alike = [key for key in config.taken if written in (key, key.rpartition(".")[2])]
        if alike and config.taken[alike[0]].study == value[FROM]:
            plain[alike[0]] = config.taken[alike[0]].value
        else:
            problems.append(
                f"--set: {written}: study {paths.name} has begun, and did not take it from "
                f"{value[FROM]}; start a new one: give it another name with --study"
            )
    if problems:
        raise ConfigError(problems)
    return plain


def _look_up(key: str, value: Mapping[str, Any], paths: StudyPaths) -> TakenConfig:
    name = value[FROM]
    if set(value) != {FROM} or not isinstance(name, str):
        raise ConfigError("must be {from: <name of a study>} and nothing else")
    earlier, config = open_earlier(name, paths)
    best = winner(earlier, config)
    path = earlier.trial(best.number).config_yaml
    try:
        nested = strict_yaml.load(path.read_text(encoding="utf-8"), place=str(path)).value
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    # Its losses may be of a file that the study which takes does not use.
    flat = TrialConfig.from_flat(flatten(nested), place=str(path), any_part=True).flat()
    if key not in flat:
        beside = [one for one in flat if one.rpartition(".")[0] == key.rpartition(".")[0]]
        raise ConfigError(
            f"trial {best.number} of {name}, its best, has no such setting{nearest(key, beside)}"
        )
    return TakenConfig(study=name, id=str(config.id), trial=best.number, value=flat[key])
