"""Order of an epoch: shuffled, repeatable, with images that are drawn several times."""

import numpy as np
import pytest

from harness.data.loading.epoch_order import EpochOrder


def test_each_image_is_drawn_once_without_weights_in_the_order_of_its_permutation() -> None:
    indices = np.array([3, 5, 8, 13])
    draws = EpochOrder(indices, seed=7).draws(2)
    expected = np.random.default_rng([7, 2]).permutation(indices)
    assert draws[:, 0].tolist() == expected.tolist()
    assert not draws[:, 1].any()


def test_equal_weights_of_one_give_the_same_order_as_none() -> None:
    indices = np.arange(9)
    same = EpochOrder(indices, 1, np.ones(9)).draws(4)
    np.testing.assert_array_equal(same, EpochOrder(indices, 1).draws(4))


def test_whole_weights_are_the_draws_of_every_epoch() -> None:
    order = EpochOrder([10, 20, 30], 0, np.array([1.0, 4.0, 2.0]))
    assert len(order) == 7
    for epoch in (1, 2, 3):
        drawn = order.draws(epoch)[:, 0]
        assert [int((drawn == k).sum()) for k in (10, 20, 30)] == [1, 4, 2]


def test_draws_of_one_image_are_counted() -> None:
    draws = EpochOrder([10, 20], 0, np.array([3.0, 2.0])).draws(1)
    for index, n in ((10, 3), (20, 2)):
        assert draws[draws[:, 0] == index, 1].tolist() == list(range(n))


def test_fractions_are_met_on_average_and_every_epoch_has_the_same_length() -> None:
    weights = np.array([1.0, 1.5, 2.25, 1.25, 1.0])
    order = EpochOrder(range(5), 3, weights)
    counts = np.zeros(5)
    for epoch in range(1, 401):
        of_epoch = np.bincount(order.draws(epoch)[:, 0], minlength=5)
        assert of_epoch.sum() == len(order) == 7
        assert ((of_epoch >= np.floor(weights)) & (of_epoch <= np.ceil(weights))).all()
        counts += of_epoch
    # A fraction of 0.25 or 0.5 in 400 epochs: standard deviation at most 0.025.
    np.testing.assert_allclose(counts / 400, weights, atol=0.1)


def test_order_depends_on_seed_and_epoch_only() -> None:
    weights = np.array([1.3, 2.1, 1.0])
    first, again, other = (EpochOrder(range(3), seed, weights) for seed in (1, 1, 2))
    first.draws(1)
    np.testing.assert_array_equal(first.draws(5), again.draws(5))
    assert any(first.draws(n).tolist() != other.draws(n).tolist() for n in range(1, 6))


def test_an_order_needs_images() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        EpochOrder([], 0)
