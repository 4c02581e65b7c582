"""What a run says that it is about to do, of one and of many."""

import pytest

from harness.search.definition.trial_plan import plan_line
from harness.space.parameters import Categorical
from harness.space.space import SearchSpace

ONE = SearchSpace((Categorical("optim.lr", (0.1, 0.2), {}),), {}, ())
TWO = SearchSpace((*ONE.parameters, Categorical("train.seed", (0, 1), {})), {}, ())
ROW = {"optim.lr": 0.1}


@pytest.mark.parametrize(
    ("done", "trials", "space", "line"),
    [
        (0, 1, ONE, "space of 1 parameter · 1 trial"),
        (0, 2, TWO, "space of 2 parameters · 2 trials"),
        (1, 3, ONE, "space of 1 parameter · continues at 1 of 3 trials"),
        (1, 1, ONE, "1 trial is finished, 1 was requested: nothing to do"),
        (7, 5, TWO, "7 trials are finished, 5 were requested: nothing to do"),
        (
            0,
            1,
            SearchSpace((), {}, (), rows=(ROW,)),
            "space of 1 row, each is trained once · 1 trial",
        ),
        (
            1,
            1,
            SearchSpace((), {}, (), rows=(ROW,)),
            "1 row of the space is trained: nothing to do",
        ),
        (
            2,
            9,
            SearchSpace((), {}, (), rows=(ROW,) * 2),
            "all 2 rows of the space are trained: nothing to do",
        ),
    ],
)
def test_one_and_many_in_the_line_of_a_run(
    done: int, trials: int, space: SearchSpace, line: str
) -> None:
    assert plan_line(done, trials, space) == line
