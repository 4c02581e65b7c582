"""Memory that ran out is collected before anything is made smaller."""

import gc
import weakref

import pytest
import torch

from harness.training.hardware.batch_splitting import MicroBatcher, retry_on_oom
from harness.training.loop.errors import TooLargeError


class Knot:
    """Part of a cycle of references."""

    def __init__(self) -> None:
        self.me = self


def out_of_memory() -> RuntimeError:
    return torch.OutOfMemoryError("CUDA out of memory")


def test_cycles_are_collected_and_the_same_number_tried_again() -> None:
    knot = Knot()
    left = weakref.ref(knot)
    tried: list[int] = []
    gc.disable()
    try:
        del knot

        def attempt(at_once: int) -> int:
            tried.append(at_once)
            if left() is not None:
                raise out_of_memory()
            return at_once

        assert MicroBatcher(8).run(attempt) == 8
    finally:
        gc.enable()
    assert tried == [8, 8]


def test_only_the_first_number_is_tried_twice_and_each_attempt_is_undone() -> None:
    tried: list[int] = []
    told: list[int] = []
    undone: list[int] = []

    def attempt(at_once: int) -> int:
        tried.append(at_once)
        if at_once > 2:
            raise out_of_memory()
        return at_once

    memory = MicroBatcher(8, on_reduce=told.append)
    assert memory.run(attempt, undo=lambda: undone.append(tried[-1])) == 2
    assert tried == [8, 8, 4, 2] and told == [4, 2] and undone == [8, 8, 4]
    assert memory.run(attempt) == 2 and tried[4:] == [2]


def test_the_error_at_the_end_holds_on_to_no_frames_of_the_attempts() -> None:
    """They hold the tensors that there was no room for."""

    def attempt(_: int) -> None:
        raise out_of_memory()

    with pytest.raises(
        TooLargeError, match="not even one image fits into memory: CUDA out"
    ) as told:
        MicroBatcher(1).run(attempt)
    assert told.value.__context__ is None and told.value.__cause__ is None


def test_other_errors_are_passed_on_at_once() -> None:
    calls: list[int] = []

    def broken() -> None:
        calls.append(1)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        retry_on_oom(broken)
    assert len(calls) == 1


def test_what_runs_out_of_memory_twice_is_passed_on() -> None:
    outcomes: list[Exception | int] = [out_of_memory(), 7]

    def action() -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert retry_on_oom(action) == 7
    outcomes += [out_of_memory(), out_of_memory()]
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        retry_on_oom(action)
