"""What to know before a study is believed: each trap a sentence, or None where it does not lie."""

import shlex
from collections.abc import Callable

from harness.data.split_file import read_split
from harness.data_config import MIN_RANKING_IMAGES
from harness.evaluation.needed import ONE_POINT, needed_images
from harness.evaluation.pairs import holm
from harness.evaluation.spread import spread_p
from harness.records import TrialRecord
from harness.report.cuts import cuts
from harness.report.edges import edges
from harness.report.image_values import compare_trials
from harness.report.orders import other_orders
from harness.report.seed_noise import seed_noise
from harness.report.tables import StudyTables, of_state, ranked_records
from harness.report.wording import among, count, plural
from harness.search.repeats import identity

LEVEL = 0.05
FEWEST = 4  # complete trials that say something of a habit
NEARLY_ALWAYS = 0.8
NAMED = 5  # trials


def traps(tables: StudyTables) -> list[str]:
    """Every trap that lies in this study, the one that costs most first."""
    found = [trap(tables) for trap in TRAPS]
    return [sentence for sentence in found if sentence is not None]


def all_is_noise(tables: StudyTables) -> str | None:
    """All complete trials lie no farther apart than equal configurations on other seeds would."""
    noise = seed_noise(tables)
    # One trial for each configuration: the first that has a value, as an earlier one may have been
    # pruned or have failed; the best of several would be farther out than one is.
    first: dict[str, TrialRecord] = {}
    for record in sorted(ranked_records(tables), key=lambda record: record.number):
        first.setdefault(identity(record), record)
    known = [record.value for record in first.values() if record.value is not None]
    if noise is None or len(known) < 2:
        return None
    span = max(known) - min(known)
    if noise.deviation == 0:
        chance = 0.0 if span > 0 else 1.0
    else:
        chance = spread_p(span, noise.deviation, noise.freedom, len(known))
    if chance <= LEVEL:
        return None
    return (
        f"All {count(len(known), 'complete configuration')} lie within {span:.4f} of each "
        f"other, as equal ones would by their seeds alone (standard deviation "
        f"{noise.deviation:.4f}, from {noise.source}; p = {chance:.2g}): their order says nothing."
    )


def too_few_to_rank(tables: StudyTables) -> str | None:
    """So few validation images that their chance decides the order."""
    ranked = ranked_records(tables)
    path = tables.paths.split_csv
    if len(ranked) < 2 or not path.is_file():
        return None
    n = sum(row.role == "val" for row in read_split(path))
    if n >= MIN_RANKING_IMAGES:
        return None
    remedy = "Validate on more of them, e.g. with split: {folds: 5} in a new study."
    if tables.config.split.folds is not None:
        remedy = (
            f"harness confirm --study {shlex.quote(tables.paths.name)} --folds 5 validates on "
            "every image of train and val."
        )
    return (
        f"{count(n, 'validation image')} {'ranks' if n == 1 else 'rank'} "
        f"{count(len(ranked), 'trial')}; below {MIN_RANKING_IMAGES} the order is mostly the "
        f"chance of the images. {remedy}"
    )


def too_few_images(tables: StudyTables) -> str | None:
    """The validation images cannot tell the top three apart; how many could."""
    top = [record.number for record in ranked_records(tables)[:3]]
    compared = compare_trials(tables, top, top)
    if not compared:
        return None
    pairs, tests = list(compared), list(compared.values())
    known = [number for number in top if any(number in pair for pair in pairs)]
    corrected = holm([test.p for test in tests])
    alike = [k for k, p in enumerate(corrected) if p > LEVEL and tests[k].n > 1]
    if not alike:
        return None
    k = max(alike, key=lambda k: tests[k].deviation / max(abs(tests[k].difference), 1e-12))
    small = abs(tests[k].difference)
    one, other = pairs[k]
    said = (
        f"{count(tests[k].n, 'validation image')} cannot tell {_apart(top, known)} apart: "
        f"between trials {one} and {other} the difference is {small:.4f} "
        f"(p = {corrected[k]:.2g}, Holm)."
    )
    if tests[k].n < MIN_RANKING_IMAGES:  # a spread of so few is no ground for a forecast
        return said
    own = needed_images(tests[k].deviation, small) if small > 0 else None
    point = needed_images(max(tests[place].deviation for place in alike), ONE_POINT)
    return (
        f"{said} For one as small as that "
        f"{_images(own)} {plural('image', own or 0)} would be needed, for one of one point (0.01) "
        f"{_images(point)}."
    )


def _apart(top: list[int], known: list[int]) -> str:
    """The trials that were compared, by number where one of the best has no scores."""
    if len(known) == len(top):
        return f"the top {count(len(known), 'trial')}"
    return f"trials {among(map(str, known))}"


def _images(needed: int | None) -> str:
    return "more than a million" if needed is None else f"about {needed}"


def still_learning(tables: StudyTables) -> str | None:
    """The best epoch is nearly always the last one."""
    complete = of_state(tables, "complete")
    complete = complete[complete["epochs_done"] >= complete["epochs_planned"]]
    complete = complete[complete["epochs_done"] > 1]
    if len(complete) < FEWEST:
        return None
    n = int((complete["best_epoch"] == complete["epochs_done"]).sum())
    if n < NEARLY_ALWAYS * len(complete):
        return None
    return (
        f"The best epoch was the last one in {n} of {count(len(complete), 'complete trial')}: they "
        "had not finished learning, and what is compared is speed. Train longer (train.epochs)."
    )


def at_the_edge(tables: StudyTables) -> str | None:
    """The best trials lie at an edge of a parameter's range."""
    found = edges(tables)
    if not found:
        return None
    where = among(
        [f"{edge.key} ({edge.side} end {edge.bound:.4g}; best {edge.value:.4g})" for edge in found]
    )
    return (
        f"The best trials lie at the edge of the range of {where}: better values may lie beyond "
        "it. Widen it in a new study (--from takes these trials along)."
    )


def cut_within_noise(tables: StudyTables) -> str | None:
    """The pruner stopped trials that were no farther behind than seeds differ."""
    noise, every = seed_noise(tables), cuts(tables)
    if noise is None or not every:
        return None
    close = [cut.number for cut in every if cut.gap < noise.smallest_lead]
    if not close:
        return None
    more = [f"{len(close) - NAMED} more"] if len(close) > NAMED else []
    named = among([*map(str, close[:NAMED]), *more])
    return (
        f"The pruner cut {len(close)} of {count(len(every), 'pruned trial')} while they were less "
        f"than {noise.smallest_lead:.4f} behind the best at the same epoch, which seeds alone make "
        f"(from {noise.source}): {plural('trial', len(close))} {named}. Give it more "
        "patience (a larger pruner.min_resource or pruner.warmup, or pruner: none)."
    )


TRAPS: tuple[Callable[[StudyTables], str | None], ...] = (
    all_is_noise,
    too_few_to_rank,
    too_few_images,
    other_orders,
    still_learning,
    at_the_edge,
    cut_within_noise,
)
