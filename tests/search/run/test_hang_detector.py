import pytest

from harness.search.run.hang_detector import HangWatch


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_silence_counts_from_the_last_word(clock: Clock) -> None:
    watch = HangWatch(60, clock)
    watch.start_attempt(7)
    watch.record_epoch(7, 1.0)
    clock.now += 59
    assert watch.hung_trials() == {} and watch.seconds_until_hang() == 1
    watch.record_activity(7)
    clock.now += 59
    assert watch.hung_trials() == {}
    clock.now += 1
    assert watch.hung_trials() == {7: 60} and watch.seconds_until_hang() == 0


def test_slow_epochs_may_be_silent_for_longer(clock: Clock) -> None:
    watch = HangWatch(60, clock)
    watch.start_attempt(7)
    for seconds in (100.0, 20.0, 30.0):  # the first one compiles
        watch.record_epoch(7, seconds)
    clock.now += 299
    assert watch.hung_trials() == {}
    clock.now += 1
    assert watch.hung_trials() == {7: 300}


def test_slow_trial_of_a_fast_study_is_measured_by_itself(clock: Clock) -> None:
    watch = HangWatch(60, clock)
    for number, seconds in ((0, 1.0), (1, 50.0)):
        watch.start_attempt(number)
        for _ in range(5 - 2 * number):
            watch.record_epoch(number, seconds)
    clock.now += 61
    assert watch.hung_trials() == {0: 61}
    clock.now += 439
    assert set(watch.hung_trials()) == {0, 1}


def test_first_epoch_of_an_attempt_has_ten_times_as_long(clock: Clock) -> None:
    watch = HangWatch(60, clock)
    watch.start_attempt(7)
    clock.now += 599
    assert watch.hung_trials() == {}
    watch.record_epoch(7, 1.0)
    watch.start_attempt(7)  # the next attempt: its process has to start again
    clock.now += 599
    assert watch.hung_trials() == {}
    clock.now += 1
    assert watch.hung_trials() == {7: 600}


def test_nobody_is_waited_for_after_the_end(clock: Clock) -> None:
    watch = HangWatch(60, clock)
    watch.start_attempt(7)
    watch.end_trial(7)
    watch.record_activity(7)
    watch.record_epoch(7, 1.0)
    clock.now += 1e6
    assert watch.seconds_until_hang() is None and watch.hung_trials() == {}
