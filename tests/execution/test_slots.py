from typing import Any

import pytest

from harness.core.errors import UserError
from harness.execution.slots import Slot, plan_slots, shares_gpu, visible_gpus

THREE = ("0", "1", "2")


def gpus_of(slots: tuple[Slot, ...]) -> list[str]:
    assert {slot.device for slot in slots} == {"cuda"}
    return [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots]


def threads_of(slots: tuple[Slot, ...]) -> list[str | None]:
    assert all(
        s.environment.get("OMP_NUM_THREADS") == s.environment.get("MKL_NUM_THREADS") for s in slots
    )
    return [slot.environment.get("OMP_NUM_THREADS") for slot in slots]


def test_without_options_there_is_one_slot_on_the_device_with_all_threads() -> None:
    assert plan_slots(device="cuda:1", visible=THREE, threads=8) == (Slot("cuda:1"),)


def test_all_gpus_have_a_worker_each_which_sees_no_other() -> None:
    slots = plan_slots(gpus="all", visible=THREE, threads=16)
    assert gpus_of(slots) == ["0", "1", "2"]
    assert threads_of(slots) == ["5", "5", "5"]


def test_chosen_gpus_are_positions_among_the_visible_ones() -> None:
    """Of CUDA_VISIBLE_DEVICES=5,3,GPU-9a the first and last: no other may be touched."""
    assert gpus_of(plan_slots(gpus="0, 2", visible=("5", "3", "GPU-9a"))) == ["5", "GPU-9a"]


def test_several_trials_share_a_gpu_and_every_gpu_is_taken_before_one_is_shared() -> None:
    assert gpus_of(plan_slots(gpus="0,2", per_gpu=2, visible=THREE)) == ["0", "2", "0", "2"]
    assert gpus_of(plan_slots(per_gpu=2, visible=("7",))) == ["7", "7"]


def test_auto_plans_as_many_workers_as_the_cpu_has_threads_for() -> None:
    slots = plan_slots(gpus="0,2", per_gpu="auto", visible=THREE, threads=8)
    assert gpus_of(slots) == ["0", "2", "0", "2"]
    assert threads_of(slots) == ["2"] * 4
    assert gpus_of(plan_slots(per_gpu="auto", visible=("7",), threads=1)) == ["7"]


@pytest.mark.parametrize(("n", "each"), [(1, None), (2, "4"), (3, "2"), (9, "1")])
def test_workers_on_the_cpu_divide_the_threads(n: int, each: str | None) -> None:
    slots = plan_slots(workers=n, visible=THREE, threads=8)
    assert [slot.device for slot in slots] == ["cpu"] * n
    assert threads_of(slots) == [each] * n


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus": "all", "visible": ()}, "no GPU here that CUDA can use"),
        ({"per_gpu": 2, "visible": ()}, "omit --gpus and --per-gpu to train on the CPU"),
        ({"gpus": "0,3"}, "--gpus 0,3: no GPU '3'; choose all, or some of 0, 1, 2"),
        ({"gpus": "-1"}, "no GPU '-1'"),
        ({"gpus": "1,"}, "no GPU ''"),
        ({"gpus": "٢"}, "no GPU '٢'"),
        ({"gpus": "9" * 5000}, "no GPU '999"),
        ({"gpus": "1,01"}, "name each GPU once"),
        ({"gpus": "0", "per_gpu": 0}, "--per-gpu 0: must be from 1 to 64"),
        ({"workers": 65}, "--workers 65: must be from 1 to 64"),
        (
            {"gpus": "all", "device": "cpu"},
            "--device cpu: cannot be combined with --gpus or --per-gpu",
        ),
        ({"gpus": "all", "workers": 2}, "for several workers on a GPU use --per-gpu"),
        ({"workers": 2, "device": "cuda"}, "omit --workers or --device cuda"),
    ],
)
def test_what_cannot_be_had_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_slots(**({"visible": THREE} | options))
    assert message in str(caught.value)


def test_visible_gpus_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA stops at the first name that it does not know."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 1,99")
    assert visible_gpus(2) == ("3", "1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus(2) == ("0", "1")


def test_gpu_is_shared_where_several_slots_are_on_it() -> None:
    once, twice = plan_slots(gpus="0,2", visible=THREE), plan_slots(per_gpu=2, visible=THREE)
    on_cpu = plan_slots(workers=2, threads=2)
    assert not any(shares_gpu(slot, once) for slot in once)
    assert all(shares_gpu(slot, twice) for slot in twice)
    assert not any(shares_gpu(slot, on_cpu) for slot in on_cpu)
