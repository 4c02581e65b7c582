import pytest

from harness.search.watch import HangWatch


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_silence_counts_from_the_last_word(clock: Clock) -> None:
    watch = HangWatch(60, clock)
    watch.begin(7)
    watch.epoch(7, 1.0)
    clock.now += 59
    assert watch.silent() == {} and watch.left_s() == 1
    watch.heard(7)
    clock.now += 59
    assert watch.silent() == {}
    clock.now += 1
    assert watch.silent() == {7: 60} and watch.left_s() == 0


def test_slow_epochs_may_be_silent_for_longer(clock: Clock) -> None:
    watch = HangWatch(60, clock)
    watch.begin(7)
    for seconds in (100.0, 20.0, 30.0):  # the first one compiles
        watch.epoch(7, seconds)
    clock.now += 299
    assert watch.silent() == {}
    clock.now += 1
    assert watch.silent() == {7: 300}


def test_slow_trial_of_a_fast_study_is_measured_by_itself(clock: Clock) -> None:
    watch = HangWatch(60, clock)
    for number, seconds in ((0, 1.0), (1, 50.0)):
        watch.begin(number)
        for _ in range(5 - 2 * number):
            watch.epoch(number, seconds)
    clock.now += 61
    assert watch.silent() == {0: 61}
    clock.now += 439
    assert set(watch.silent()) == {0, 1}


def test_first_epoch_of_an_attempt_has_ten_times_as_long(clock: Clock) -> None:
    watch = HangWatch(60, clock)
    watch.begin(7)
    clock.now += 599
    assert watch.silent() == {}
    watch.epoch(7, 1.0)
    watch.begin(7)  # the next attempt: its process has to start again
    clock.now += 599
    assert watch.silent() == {}
    clock.now += 1
    assert watch.silent() == {7: 600}


def test_nobody_is_waited_for_after_the_end(clock: Clock) -> None:
    watch = HangWatch(60, clock)
    watch.begin(7)
    watch.end(7)
    watch.heard(7)
    watch.epoch(7, 1.0)
    clock.now += 1e6
    assert watch.left_s() is None and watch.silent() == {}
