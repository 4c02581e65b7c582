"""Number of trials that a run shall have, and the line that says so before it starts."""

from harness.core.text import count, is_or_are
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.options import DEFAULT_TRIALS, RunOptions
from harness.space.space import SearchSpace


def total_trials(options: RunOptions, definition: StudyDefinition) -> int:
    """`--trials`, else the recorded number, else the rows of a CSV space, else 20."""
    recorded, n_rows = definition.config.budget.trials, len(definition.space.rows)
    # `or`, so 0 counts as not given; the command line refuses it.
    return options.search.trials or recorded or n_rows or DEFAULT_TRIALS


def plan_line(n_finished: int, trials: int, space: SearchSpace) -> str:
    """Describe a run before it starts: its space, and the number of finished trials."""
    parameters, n_rows = f"space of {count(len(space.parameters), 'parameter')}", len(space.rows)
    if space.rows:
        rows = count(n_rows, "row")
        parameters = f"space of {rows}, each is trained once"
        if n_finished >= n_rows:
            every = "all " if n_rows > 1 else ""
            return f"{every}{rows} of the space {is_or_are(n_rows)} trained: nothing to do"
        if trials > n_rows:
            parameters += (
                f" and then the study ends, though {count(trials, 'trial')} were requested"
            )
            trials = n_rows
    if n_finished >= trials:
        target_text = f"{trials} {'was' if trials == 1 else 'were'} requested"
        return (
            f"{count(n_finished, 'trial')} {is_or_are(n_finished)} finished, {target_text}: "
            "nothing to do"
        )
    if n_finished:
        return f"{parameters} · continues at {n_finished} of {count(trials, 'trial')}"
    return f"{parameters} · {count(trials, 'trial')}"
