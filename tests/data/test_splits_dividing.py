import random
from collections import Counter

import pytest

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.data.splits.stratified_split import (
    ImageGroup,
    assign_folds,
    assign_roles,
    collect_groups,
)

BINARY = StudyDataConfig()
SCENE = StudyDataConfig(task="multiclass", classes=("sky", "road", "car", "dog"))


def scenes(seed: int, n: int, *, most: int = 4) -> tuple[list[str], list[tuple[float, ...]]]:
    """Images in groups of 1 to `most`: sky in all, dogs in a few of them."""
    rng = random.Random(seed)
    names: list[str] = []
    while len(names) < n:
        names += [f"g{len(names)}"] * rng.randint(1, most)
    likely = (1, 0.6, 0.3, 0.08)
    shares = [tuple(float(rng.random() < p) / 4 for p in likely) for _ in names]
    for group in sorted(set(names))[:3]:  # three groups that have everything
        shares[names.index(group)] = (0.25,) * 4
    return names, shares


@pytest.mark.parametrize("seed", range(60))
def test_shares_are_met_within_a_group_and_no_class_is_lost(seed: int) -> None:
    names, shares = scenes(seed, 120)
    sizes = Counter(names)
    n_val, n_test = round(len(names) * 0.15), round(len(names) * 0.2)
    roles = assign_roles(collect_groups(names, shares, SCENE), n_val, n_test, seed, SCENE)
    assert set(roles) == set(names)
    got = Counter(roles[name] for name in names)
    assert abs(got["val"] - n_val) < max(sizes.values())
    assert abs(got["test"] - n_test) < max(sizes.values())
    for role in ("train", "val"):
        there = [share for name, share in zip(names, shares, strict=True) if roles[name] == role]
        assert all(any(share[index] > 0 for share in there) for index in range(4))


@pytest.mark.parametrize("seed", range(30))
def test_folds_are_of_one_size_and_have_every_class(seed: int) -> None:
    names, shares = scenes(seed, 200)
    for name in sorted(set(names))[3:10]:
        shares[names.index(name)] = (0.25,) * 4
    groups = collect_groups(names, shares, SCENE)
    folds = assign_folds(groups, 4, 40, seed, SCENE)
    got = Counter(folds[name] for name in names)
    assert set(got) == {None, 0, 1, 2, 3}
    wanted, most = (len(names) - got[None]) / 4, max(Counter(names).values())
    assert abs(got[None] - 40) < most
    assert all(abs(got[fold] - wanted) < 2 * most for fold in range(4))
    for fold in range(4):
        there = [share for name, share in zip(names, shares, strict=True) if folds[name] == fold]
        assert all(any(share[index] > 0 for share in there) for index in range(4))


@pytest.mark.parametrize("seed", range(20))
def test_foreground_shares_are_alike_on_all_sides(seed: int) -> None:
    """Five bins of 40 images: each side gets its tenth of each bin."""
    shares = [(1 - (i + 1) / 400, (i + 1) / 400) for i in range(200)]
    names = [f"images/{i}.png" for i in range(200)]
    roles = assign_roles(collect_groups(names, shares, BINARY), 20, 20, seed, BINARY)
    for role in ("val", "test"):
        chosen = [index for index in range(200) if roles[names[index]] == role]
        assert Counter(index // 40 for index in chosen) == dict.fromkeys(range(5), 4)


def test_images_without_foreground_are_spread_too() -> None:
    shares = [(1.0, 0.0)] * 50 + [(0.8, 0.2)] * 50
    names = [str(index) for index in range(100)]
    roles = assign_roles(collect_groups(names, shares, BINARY), 10, 10, 0, BINARY)
    for role in ("val", "test"):
        assert sum(roles[name] == role for name in names[:50]) == 5


def test_order_of_the_images_does_not_matter() -> None:
    names, shares = scenes(3, 80)
    groups = collect_groups(names, shares, SCENE)
    first = assign_roles(groups, 8, 8, 5, SCENE)
    assert assign_roles(groups[::-1], 8, 8, 5, SCENE) == first
    assert assign_roles(groups, 8, 8, 6, SCENE) != first


def test_val_takes_more_than_its_share_where_a_class_needs_it() -> None:
    """Four classes that never meet: one image of val for each, though one was wanted."""
    shares = [tuple(float(index % 4 == c) for c in range(4)) for index in range(12)]
    names = [str(index) for index in range(12)]
    roles = assign_roles(collect_groups(names, shares, SCENE), 1, 0, 0, SCENE)
    assert sorted(int(name) % 4 for name in names if roles[name] == "val") == [0, 1, 2, 3]


def test_test_never_takes_what_train_needs() -> None:
    """A car is in two images: one validates, one trains, none is kept back."""
    shares = [(0.5, 0.0, 0.5, 0.0)] * 2 + [(1.0, 0.0, 0.0, 0.0)] * 8
    names = [str(index) for index in range(10)]
    for seed in range(20):
        roles = assign_roles(collect_groups(names, shares, SCENE), 1, 5, seed, SCENE)
        assert {roles["0"], roles["1"]} == {"train", "val"}


def test_class_of_one_group_is_named() -> None:
    shares = [(0.5, 0.0, 0.0, 0.5)] * 2 + [(1.0, 0.0, 0.0, 0.0)] * 8
    groups = collect_groups(["a", "a", *"bcdefghi"], shares, SCENE)
    with pytest.raises(DataError, match=r"class 'dog' is in 1 different image or group only \(a\)"):
        assign_roles(groups, 1, 1, 0, SCENE)
    everywhere = collect_groups(["a", *"bcdefghij"], shares, SCENE)
    with pytest.raises(DataError, match=r"'dog' is in 2 .*each of 3 folds need it"):
        assign_folds(everywhere, 3, 0, 0, SCENE)


def test_classes_that_cannot_be_on_both_sides_are_named() -> None:
    """Each two of three groups share a class: one of val lacks one, two of val take one away."""
    groups = [
        ImageGroup("a", 1, Counter({0: 1}), {1, 2}),
        ImageGroup("b", 1, Counter({0: 1}), {1, 3}),
    ]
    groups.append(ImageGroup("c", 1, Counter({0: 1}), {2, 3}))
    with pytest.raises(
        DataError, match=r"cannot be divided so that each part has '(road|car|dog)'"
    ):
        assign_roles(groups, 1, 0, 0, SCENE)


def test_too_few_groups_are_refused() -> None:
    groups = collect_groups(["a", "a", "b"], [(0.5, 0.5)] * 3, BINARY)
    with pytest.raises(DataError, match="2 different images or groups; each of 3 folds needs one"):
        assign_folds(groups, 3, 0, 0, BINARY)
    with pytest.raises(DataError, match="only one different image or group"):
        assign_roles(groups[:1], 1, 0, 0, BINARY)


def test_twenty_thousand_images_are_divided_in_seconds() -> None:
    names, shares = scenes(0, 20_000)
    roles = assign_roles(collect_groups(names, shares, SCENE), 2000, 2000, 0, SCENE)
    assert abs(Counter(roles[name] for name in names)["val"] - 2000) < 4
