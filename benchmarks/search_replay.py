"""Compare samplers and pruners by the epochs that they need, on recorded learning curves.

    python -m benchmarks.search_replay --curves FILE.jsonl|studies/NAME [--part report]
        [--seeds 40] [--trials 40] [--epochs 640] [--arms 'TPE*'] [--keep replays.jsonl]
        [--prior OTHER.jsonl]

Every arm runs through the harness's controller; each draw is mapped to the nearest unused network
of the table and charged that network's epochs. A study ends after `--trials` trials (comparison at
equal trials), after `--epochs` epochs (at equal epochs), or when all networks are used.
"""

import argparse
import fnmatch
import hashlib
import json
import math
import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.pruners import BasePruner, SuccessiveHalvingPruner

from benchmarks.recorded import Table, read_table
from benchmarks.replay_scores import print_table
from benchmarks.replaying import Played, replay
from harness.config.study import BudgetConfig, PrunerConfig
from harness.search.imports.priors import GOOD_SHARE, MAX_FIRST_SHARE, MAX_ROWS
from harness.search.sampling.prior import fit_row
from harness.space.reading.load_space import space_from_dict
from harness.space.space import AllowedValues

REFERENCE = "TPE, no pruner"


class KeepBest(BasePruner):
    """Pruner that continues, after this many epochs, only trials better than all earlier ones."""

    def __init__(self, epochs: int) -> None:
        self._step = epochs - 1

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        if trial.last_step != self._step:
            return False
        sign = 1.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1.0
        best = [
            min(sign * v for step, v in one.intermediate_values.items() if step <= self._step)
            for one in study.get_trials(deepcopy=False)
            if self._step in one.intermediate_values and one.number != trial.number
        ]
        own = min(sign * value for value in trial.intermediate_values.values())
        return own > min(best, default=own)


@dataclass(frozen=True)
class Arm:
    """A search method: keys of study.yaml, or a pruner that the harness does not offer."""

    pruner: dict[str, Any]
    sampler: str = "tpe"
    other: BasePruner | None = None
    prior: Literal["best", "worst"] | None = None
    chances: bool = False

    @property
    def knows_budget(self) -> bool:
        return self.pruner["name"] == "curve" or self.chances


NONE = {"name": "none"}
CHANCES = BudgetConfig().second_chances


def _halving(least: int) -> Arm:
    """Optuna's pruner, which counts steps from 0: 2 means after 3 epochs, 6 after 7."""
    return Arm(NONE, other=SuccessiveHalvingPruner(min_resource=least, reduction_factor=3))


ARMS = {
    "random, no pruner": Arm(NONE, "random"),
    REFERENCE: Arm(NONE),
    "TPE + median, Optuna's defaults": Arm({"name": "median", "warmup": 0.0, "n_min_trials": 1}),
    "TPE + median, ours": Arm({"name": "median"}),
    "TPE + halving from 1": _halving(1),
    "TPE + halving from 2": _halving(2),
    "TPE + halving from 4": _halving(4),
    "TPE + Hyperband": Arm({"name": "hyperband"}),
    "TPE + best after 4 epochs": Arm(NONE, other=KeepBest(4)),
    "TPE + our halving, the default": Arm({"name": PrunerConfig().name}),
    "TPE + curve": Arm({"name": "curve"}),
    "our halving + second chances": Arm({"name": PrunerConfig().name}, chances=True),
    "our halving + prior": Arm({"name": PrunerConfig().name}, prior="best"),
    "our halving + prior + second chances": Arm(
        {"name": PrunerConfig().name}, prior="best", chances=True
    ),
    "our halving + prior upside down": Arm({"name": PrunerConfig().name}, prior="worst"),
    "our halving + prior upside down + second chances": Arm(
        {"name": PrunerConfig().name}, prior="worst", chances=True
    ),
}


@dataclass(frozen=True)
class Job:
    """One replay; with `by_hours` the budget is epochs instead of trials, and the arm knows it."""

    table: Table
    arm: str
    seed: int
    by_hours: bool
    epochs: int
    trials: int
    priors: tuple[Table, ...] = ()

    @property
    def key(self) -> str:
        ids = ",".join(map(str, self.table.ids))
        table = hashlib.sha256(ids.encode()).hexdigest()[:8]
        priors = "".join(f"/{len(prior.ids)}x{prior.epochs}" for prior in self.priors)
        return f"{table}/{self.arm}/{self.seed}/{self.by_hours}{priors}"

    def run(self) -> list[Played]:
        arm = ARMS[self.arm]
        is_told = self.by_hours and arm.pruner["name"] == "curve"
        budget = {"second_chances": CHANCES if arm.chances else 0.0}
        budget |= {"gpu_hours": 1e9} if is_told else {}
        settings = {"sampler": {"name": arm.sampler}, "pruner": arm.pruner, "budget": budget}
        if arm.prior is not None:
            settings["priors"] = self._priors(is_flipped=arm.prior == "worst")
        return replay(
            self.table,
            settings,
            seed=self.seed,
            trials=self.trials if arm.chances and not self.by_hours else len(self.table.ids),
            epochs=self.epochs if self.by_hours or not arm.chances else None,
            pruner=arm.other,
        )

    def _priors(self, *, is_flipped: bool) -> list[dict[str, Any]]:
        """The priors as `--prior` would record them, see `search.imports.priors`."""
        space = space_from_dict(self.table.space(), source="recorded", legal=AllowedValues())
        n_first = max(1, int(MAX_FIRST_SHARE * self.trials))
        entries = []
        for k, prior in enumerate(self.priors):
            order = sorted(range(len(prior.ids)), key=lambda i: prior.final[i], reverse=is_flipped)
            n_good = min(MAX_ROWS, math.ceil(GOOD_SHARE * len(order)))
            rows = [fit_row(space, prior.configs[i]) for i in order[:n_good]]
            first = len(range(k, n_first, len(self.priors)))
            entries.append({"study": f"recorded{k}", "first": first, "rows": rows})
        return entries


def main() -> None:
    args = _arguments()
    priors = tuple(read_table(path) for path in args.prior)
    table = read_table(args.curves)
    if args.part != "all":
        table = table.part([number % 2 == (args.part == "report") for number in table.ids])
    arms = [
        arm
        for arm, settings in ARMS.items()
        if (any(fnmatch.fnmatch(arm, one) for one in args.arms.split(";")) or arm == REFERENCE)
        and (priors or settings.prior is None)
    ]
    # An arm that ignores its budget behaves equally under both, so one replay serves both.
    jobs = [
        Job(
            table,
            arm,
            seed,
            by_hours,
            args.epochs,
            args.trials,
            priors if ARMS[arm].prior is not None else (),
        )
        for seed in range(args.seeds)
        for arm in arms
        for by_hours in ((False, True) if ARMS[arm].knows_budget else (False,))
    ]
    done = {job.key: played for job, played in _played(jobs, args)}
    results = {}
    for arm in arms:
        of_arm = [job for job in jobs if job.arm == arm]
        # Second chances come after the last trial.
        n_played = None if ARMS[arm].chances else args.trials
        by_trials = [done[job.key][:n_played] for job in of_arm if not job.by_hours]
        by_hours = [done[job.key] for job in of_arm if job.by_hours]
        results[arm] = (by_trials, by_hours or [done[job.key] for job in of_arm])
    print_table(table, results, REFERENCE, trials=args.trials, epochs=args.epochs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, required=True, help="a JSONL, or a study's folder")
    parser.add_argument(
        "--part", choices=["all", "fit", "report"], default="all", help="even ids, odd ids"
    )
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=640, help="of all trials together")
    parser.add_argument("--arms", default="*", help="patterns of their names, with ; between")
    parser.add_argument("--prior", type=Path, action="append", default=[], help="another table")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a JSONL of replays, which are not played again")
    return parser.parse_args()


def _played(jobs: list[Job], args: argparse.Namespace) -> Iterator[tuple[Job, list[Played]]]:
    """Each job with its trials: first the stored replays, then the others as they finish."""
    kept: dict[str, list[Played]] = {}
    if args.keep is not None and args.keep.exists():
        for line in args.keep.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["epochs"] >= args.epochs:
                kept[row["key"]] = [Played(**one) for one in row["played"]]
    yield from ((job, kept[job.key]) for job in jobs if job.key in kept)
    left = [job for job in jobs if job.key not in kept]
    with multiprocessing.Pool(args.processes) as pool:
        for job, played in zip(left, pool.imap(Job.run, left), strict=True):
            if args.keep is not None:
                with args.keep.open("a", encoding="utf-8") as handle:
                    trials = [asdict(one) for one in played]
                    row = {"key": job.key, "epochs": job.epochs, "played": trials}
                    handle.write(json.dumps(row) + "\n")
            yield job, played


if __name__ == "__main__":
    main()
