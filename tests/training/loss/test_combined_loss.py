import math
from typing import Any

import pytest
import torch
from segmentation_models_pytorch.losses import FocalLoss
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torchvision.ops import sigmoid_focal_loss  # type: ignore[import-untyped]

from harness.config import components
from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.study import LossConfig
from harness.core.errors import ConfigError
from harness.training.loss.builtin_losses import focal
from harness.training.loss.combined_loss import build_training_loss
from harness.training.loss.task_checks import check_loss_for_task

NONE = {"dice": 0.0, "bce": 0.0}
LN3 = math.log(3)
# Four pixels with probabilities 0.75, 0.25, 0.5, 0.5; the first is foreground:
# tp = 0.75, false alarms = 1.25, misses = 0.25.
LOGITS = torch.tensor([LN3, -LN3, 0.0, 0.0]).reshape(1, 1, 2, 2)
TARGET = torch.tensor([1, 0, 0, 0], dtype=torch.uint8).reshape(1, 2, 2)


BINARY = StudyDataConfig()
BINARY_VOID = StudyDataConfig(ignore_index=7)
THREE = StudyDataConfig(task="multiclass", classes=("sky", "road", "tree"))
LABELS = StudyDataConfig(task="multilabel", classes=("cat", "dog"))


def value(logits: Tensor = LOGITS, target: Tensor = TARGET, **settings: Any) -> float:
    return of(BINARY, logits, target, **settings)


def of(data: StudyDataConfig, logits: Tensor, target: Tensor, **settings: Any) -> float:
    config = LossConfig(**{**NONE, **settings})
    return float(build_training_loss(config, data)(logits, target).total)


def test_dice_by_hand() -> None:
    assert value(dice=1) == pytest.approx(1 - 2 * 0.75 / (2 + 1))


def test_jaccard_by_hand() -> None:
    assert value(jaccard=1) == pytest.approx(1 - 0.75 / (2 + 1 - 0.75))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_tversky_alpha_weighs_false_alarms(alpha: float) -> None:
    expected = 1 - 0.75 / (0.75 + alpha * 1.25 + (1 - alpha) * 0.25)
    assert value(tversky=1, tversky_alpha=alpha) == pytest.approx(expected)


def test_bce_by_hand() -> None:
    assert value(bce=1) == pytest.approx((-2 * math.log(0.75) - 2 * math.log(0.5)) / 4)


def test_bce_with_label_smoothing_by_hand() -> None:
    """The first target becomes 0.9, the others 0.1."""
    confident = -0.9 * math.log(0.75) - 0.1 * math.log(0.25)
    assert value(bce=1, label_smoothing=0.1) == pytest.approx((2 * confident + 2 * LN2) / 4)


LN2 = math.log(2)


def test_label_smoothing_leaves_regions_as_they_are() -> None:
    assert value(dice=1, label_smoothing=0.2) == value(dice=1)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_by_hand(gamma: float) -> None:
    expected = (2 * 0.25**gamma * -math.log(0.75) + 2 * 0.5**gamma * LN2) / 4
    assert value(focal=1, focal_gamma=gamma) == pytest.approx(expected)


def test_focal_equals_two_other_libraries() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 1, 8, 8), generator=generator)
    target = (torch.rand((2, 8, 8), generator=generator) > 0.7).float()
    ours = value(logits, target, focal=1, focal_gamma=2.0)
    others = [
        sigmoid_focal_loss(logits, target[:, None], alpha=-1, gamma=2.0, reduction="mean"),
        FocalLoss(mode="binary", gamma=2.0)(logits, target),
    ]
    assert others == [pytest.approx(ours), pytest.approx(ours)]


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
def test_focal_has_a_finite_gradient_where_the_network_is_certain(gamma: float) -> None:
    logits = torch.tensor([40.0, 200.0, -40.0, 0.0], requires_grad=True)
    value = focal(
        logits,
        torch.tensor([1.0, 1.0, 0.0, 1.0]),
        task="binary",
        void=False,
        label_smoothing=0.0,
        class_weights=None,
        gamma=gamma,
    )
    value.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
    assert logits.grad[3] < 0, "the doubtful pixel still teaches"


def test_total_is_the_sum_of_parts_weighted_by_their_share() -> None:
    loss = build_training_loss(LossConfig(dice=3.0, bce=1.0, focal=0.0), BINARY)
    result = loss(LOGITS, TARGET)
    assert loss.weights == {"dice": 0.75, "bce": 0.25}
    assert list(result.parts) == ["dice", "bce"]
    expected = 0.75 * value(dice=1) + 0.25 * value(bce=1)
    assert float(result.total) == pytest.approx(expected)
    assert float(result.parts["bce"]) == pytest.approx(value(bce=1))


def test_scaling_all_weights_changes_nothing() -> None:
    assert value(dice=0.2, jaccard=0.1) == pytest.approx(value(dice=20.0, jaccard=10.0))


def test_batch_without_foreground_teaches_bce_but_not_dice() -> None:
    empty = torch.zeros_like(TARGET)
    assert value(LOGITS, empty, dice=1) == 0
    assert value(LOGITS, empty, bce=1) > 0


@pytest.mark.parametrize("part", ["dice", "bce", "focal", "jaccard", "tversky", "lovasz"])
def test_half_precision_logits_are_summed_in_fp32(part: str) -> None:
    """70,000 pixels with p near 1: their sum is beyond what fp16 can hold."""
    logits = torch.full((1, 1, 250, 280), 4.0)
    target = torch.ones((1, 250, 280), dtype=torch.uint8)
    result = build_training_loss(LossConfig(**{**NONE, part: 1.0}), BINARY)(logits.half(), target)
    assert result.total.dtype == torch.float32
    assert float(result.total) == pytest.approx(value(logits, target, **{part: 1.0}))
    assert math.isfinite(float(result.total))


@pytest.mark.parametrize("part", ["dice", "bce", "focal", "jaccard", "tversky", "lovasz"])
def test_descending_the_gradient_lowers_each_part(part: str) -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = build_training_loss(LossConfig(**{**NONE, part: 1.0}), BINARY)
    before = loss(logits, TARGET).total
    before.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert loss(logits.detach() - 0.1 * logits.grad, TARGET).total < before


# Three classes, four pixels, the last one void; softmax probabilities of each pixel:
P3 = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.6, 0.2], [0.1, 0.2, 0.7], [0.8, 0.1, 0.1]])
LOGITS3 = P3.log().T.reshape(1, 3, 2, 2)
TARGET3 = torch.tensor([0, 1, 1, IGNORE_INDEX], dtype=torch.uint8).reshape(1, 2, 2)


def test_ce_by_hand() -> None:
    expected = -(math.log(0.5) + math.log(0.6) + math.log(0.2)) / 3
    assert of(THREE, LOGITS3, TARGET3, ce=1.0) == pytest.approx(expected)


def test_ce_with_class_weights_by_hand() -> None:
    """Class 0 weighs 3, class 1 one: a weighted mean over pixels, as torch's own."""
    expected = -(3 * math.log(0.5) + math.log(0.6) + math.log(0.2)) / 5
    weights = (3.0, 1.0, 0.0)
    got = of(THREE, LOGITS3, TARGET3, ce=1.0, class_weights=weights)
    torchs = F.cross_entropy(
        LOGITS3, TARGET3.long(), torch.tensor(weights), ignore_index=IGNORE_INDEX
    )
    assert got == pytest.approx(expected) and float(torchs) == pytest.approx(expected)


def test_label_smoothing_of_ce_takes_from_the_right_class_and_gives_to_the_others() -> None:
    soft = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
    expected = float(-(soft * P3[:3].log()).sum() / 3)
    assert of(THREE, LOGITS3, TARGET3, ce=1.0, label_smoothing=0.2) == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("part", ["ce", "focal"])
def test_two_classes_cost_the_same_as_softmax_and_as_sigmoid(part: str, smoothing: float) -> None:
    """A softmax over (0, x) is the sigmoid of x."""
    two = StudyDataConfig(task="multiclass", classes=("a", "b"))
    as_two = torch.cat([torch.zeros_like(LOGITS), LOGITS], dim=1)
    other = {"ce": "bce", "focal": "focal"}[part]
    soft = {"label_smoothing": smoothing}
    expected = value(**{other: 1.0}, **soft)
    assert of(two, as_two, TARGET, **{part: 1.0}, **soft) == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_of_three_classes_by_hand(gamma: float) -> None:
    right = [0.5, 0.6, 0.2]
    each = [(1 - q) ** gamma * -math.log(q) for q in right]
    plain = of(THREE, LOGITS3, TARGET3, focal=1.0, focal_gamma=gamma)
    assert plain == pytest.approx(sum(each) / 3)
    weighted = of(
        THREE, LOGITS3, TARGET3, focal=1.0, focal_gamma=gamma, class_weights=[2.0, 1.0, 1.0]
    )
    assert weighted == pytest.approx((2 * each[0] + each[1] + each[2]) / 4)


def test_regions_of_three_classes_by_hand() -> None:
    """Over the three pixels that count; class 2 is not in the truth and adds 0."""
    p, y = P3[:3], torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]])
    tp, total = (p * y).sum(0), p.sum(0) + y.sum(0)
    dice = (1 - 2 * tp / total)[:2].sum() / 3
    jaccard = (1 - tp / (total - tp))[:2].sum() / 3
    tversky = (1 - tp / (tp + 0.2 * (p.sum(0) - tp) + 0.8 * (y.sum(0) - tp)))[:2].sum() / 3
    assert of(THREE, LOGITS3, TARGET3, dice=1.0) == pytest.approx(float(dice))
    assert of(THREE, LOGITS3, TARGET3, jaccard=1.0) == pytest.approx(float(jaccard))
    got = of(THREE, LOGITS3, TARGET3, tversky=1.0, tversky_alpha=0.2)
    assert got == pytest.approx(float(tversky))


def test_lovasz_hinge_by_hand() -> None:
    """Errors 1 - LN3 (the foreground), 1 - LN3, 1, 1; sorted: two false alarms first.

    Jaccard losses as pixels are wrong one by one: 1/2, 2/3, then with the miss 1, then 1.
    """
    errors, losses = [1, 1, 1 - LN3, 1 - LN3], [0, 1 / 2, 2 / 3, 1, 1]
    steps = [max(e, 0) * (b - a) for e, a, b in zip(errors, losses[:-1], losses[1:], strict=True)]
    assert value(lovasz=1.0) == pytest.approx(sum(steps))


def test_lovasz_is_of_each_image_and_class() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn((2, 2, 6, 6), generator=generator)
    target = (torch.rand((2, 6, 6, 2), generator=generator) > 0.5).to(torch.uint8)
    each = [
        value(logits[n : n + 1, k : k + 1], target[n : n + 1, ..., k], lovasz=1.0)
        for n in (0, 1)
        for k in (0, 1)
    ]
    assert of(LABELS, logits, target, lovasz=1.0) == pytest.approx(sum(each) / 4)


@pytest.mark.parametrize("n_void", [1, 3])
def test_lovasz_leaves_out_images_that_are_all_void(n_void: int) -> None:
    """The hinges of four pixels, all wrong: 1 + ln 3 twice, then 1 twice; the Jaccard loss of the
    first alone is 1, as it is the only pixel of the foreground.
    """
    logits = torch.tensor([-LN3, LN3, 0.0, 0.0]).reshape(1, 1, 2, 2)
    both = torch.cat([logits, torch.ones((n_void, 1, 2, 2))])
    target = torch.cat([TARGET, torch.full((n_void, 2, 2), IGNORE_INDEX, dtype=torch.uint8)])
    alone = of(BINARY_VOID, logits, TARGET, lovasz=1.0)
    assert alone == pytest.approx(1 + LN3)
    assert of(BINARY_VOID, both, target, lovasz=1.0) == pytest.approx(1 + LN3)
    assert of(BINARY_VOID, both[1:], target[1:], lovasz=1.0) == 0


def test_lovasz_softmax_equals_one_minus_iou_of_sure_answers() -> None:
    """Class 0: 1 of 2 pixels of the union; class 1: 1 of 2; class 2 is not in the truth."""
    said = torch.tensor([0, 1, 0]).reshape(1, 1, 3)
    logits = 60.0 * F.one_hot(said, 3).permute(0, 3, 1, 2)
    target = torch.tensor([0, 1, 1], dtype=torch.uint8).reshape(1, 1, 3)
    assert of(THREE, logits, target, lovasz=1.0) == pytest.approx(0.5)


def test_multilabel_parts_by_hand() -> None:
    """Two planes, of which the first weighs 3 times the second."""
    logits = torch.tensor([LN3, 0.0]).reshape(1, 2, 1, 1)
    target = torch.tensor([1, 1], dtype=torch.uint8).reshape(1, 1, 1, 2)
    first, second = -math.log(0.75), LN2
    assert of(LABELS, logits, target, bce=1.0) == pytest.approx((first + second) / 2)
    got = of(LABELS, logits, target, bce=1.0, class_weights=(3.0, 1.0))
    assert got == pytest.approx((3 * first + second) / 4)
    got = of(LABELS, logits, target, focal=1.0, focal_gamma=1.0, class_weights=(3.0, 1.0))
    assert got == pytest.approx((3 * 0.25 * first + 0.5 * second) / 4)
    dice = (1 - 2 * 0.75 / 1.75 + 1 - 2 * 0.5 / 1.5) / 2
    assert of(LABELS, logits, target, dice=1.0) == pytest.approx(dice)


TASKS = {
    "binary": (BINARY_VOID, 1, (2, 8, 8), 2),
    "multiclass": (THREE, 3, (2, 8, 8), 3),
    "multilabel": (LABELS.model_copy(update={"ignore_index": 7}), 2, (2, 8, 8, 2), 2),
}
ALL = ["dice", "bce", "ce", "focal", "jaccard", "tversky", "lovasz"]
CASES = [(task, part) for task in TASKS for part in ALL if (task, part) != ("multiclass", "bce")]


def drawn(task: str) -> tuple[StudyDataConfig, Tensor, Tensor, Tensor]:
    """Random logits and targets whose right half is void, and the void pixels of the logits."""
    data, outputs, shape, n_values = TASKS[task]
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn((2, outputs, 8, 8), generator=generator)
    target = torch.randint(0, n_values, shape, generator=generator, dtype=torch.uint8)
    target[:, :, 4:] = IGNORE_INDEX
    void = torch.zeros((2, outputs, 8, 8), dtype=torch.bool)
    void[..., 4:] = True
    return data, logits, target, void


@pytest.mark.parametrize(("task", "part"), CASES)
def test_void_pixels_count_nowhere(task: str, part: str) -> None:
    """The same number as without them, and no gradient where they are."""
    data, logits, target, void = drawn(task)
    logits.requires_grad_()
    loss = build_training_loss(LossConfig(**{**NONE, part: 1.0, "label_smoothing": 0.1}), data)
    total = loss(logits, target).total
    total.backward()  # type: ignore[no-untyped-call]
    cut = loss(logits.detach()[..., :4], target[:, :, :4]).total
    assert float(total.detach()) == pytest.approx(float(cut), rel=1e-5) and float(cut) > 0
    assert logits.grad is not None and not logits.grad[void].any()
    assert logits.grad[~void].abs().sum() > 0


@pytest.mark.parametrize(("task", "part"), CASES)
def test_batch_of_void_pixels_teaches_nothing(task: str, part: str) -> None:
    data, logits, target, _ = drawn(task)
    logits.requires_grad_()
    loss = build_training_loss(LossConfig(**{**NONE, part: 1.0}), data)
    total = loss(logits, torch.full_like(target, IGNORE_INDEX)).total
    total.backward()  # type: ignore[no-untyped-call]
    assert float(total.detach()) == 0
    assert logits.grad is not None and not logits.grad.any()


@pytest.mark.parametrize(("task", "part"), CASES)
def test_descending_lowers_each_part_in_every_task(task: str, part: str) -> None:
    data, logits, target, _ = drawn(task)
    logits.requires_grad_()
    loss = build_training_loss(LossConfig(**{**NONE, part: 1.0}), data)
    before = loss(logits, target).total
    before.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert loss(logits.detach() - 0.1 * logits.grad, target).total < before


@pytest.mark.parametrize("part", ["bce", "focal", "dice", "jaccard", "tversky", "lovasz"])
def test_declaring_void_changes_nothing_where_there_is_none(part: str) -> None:
    assert of(BINARY_VOID, LOGITS, TARGET, **{part: 1.0}) == pytest.approx(value(**{part: 1.0}))


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (THREE, {"bce": 1.0}, "loss.bce: acts in two-class and multilabel tasks; use loss.ce"),
        (BINARY, {"bce": 1.0, "class_weights": (1.0, 2.0)}, "loss.class_weights: act in multi"),
        (THREE, {"ce": 1.0, "class_weights": (1.0, 2.0)}, "loss.class_weights: 2 for 3 classes"),
    ],
)
def test_parts_that_cannot_act_are_refused(
    data: StudyDataConfig, changes: dict[str, Any], message: str
) -> None:
    config = LossConfig(**{**NONE, **changes})
    with pytest.raises(ConfigError, match=message):
        check_loss_for_task(config, data)
    with pytest.raises(ConfigError, match=message):
        build_training_loss(config, data)


@pytest.mark.parametrize(
    ("data", "weights", "message"),
    [
        (THREE, (1.0, 2.0, 3.0), "act in loss.ce and loss.focal, both 0"),
        (LABELS, (1.0, 2.0), "act in loss.bce and loss.ce and loss.focal, all 0"),
    ],
)
def test_class_weights_without_effect_are_refused_in_a_study_and_taken_in_one_draw_of_it(
    data: StudyDataConfig, weights: tuple[float, ...], message: str
) -> None:
    config = LossConfig(**{**NONE, "dice": 1.0, "class_weights": weights})
    with pytest.raises(ConfigError, match=message):
        check_loss_for_task(config, data)
    build_training_loss(config, data)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_a_yes_or_no_task_is_the_binary_one(task: str, smoothing: float) -> None:
    """-log sigmoid of the right answer, written out, over the pixels that are not void."""
    data, logits, target, void = drawn(task)
    yes = (target.unsqueeze(1) if task == "binary" else target.permute(0, 3, 1, 2)).double()
    soft = yes * (1 - 2 * smoothing) + smoothing
    q = torch.sigmoid(logits.double())
    pixels = -(soft * q.log() + (1 - soft) * (1 - q).log())
    config = LossConfig(**{**NONE, "ce": 1.0, "label_smoothing": smoothing})
    assert float(build_training_loss(config, data)(logits, target).total) == pytest.approx(
        float(pixels[~void].mean()), rel=1e-5
    )


def test_class_weights_of_zero_only_are_refused() -> None:
    with pytest.raises(ValueError, match="class_weights: all are 0; set one above 0"):
        LossConfig(class_weights=(0.0, 0.0))


def test_class_weights_are_sent_to_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    build = torch.tensor

    def count(*values: Any, **rest: Any) -> Tensor:
        made.append(values)
        return build(*values, **rest)

    monkeypatch.setattr(torch, "tensor", count)
    for weights, n_expected in ((None, 0), ((1.0, 2.0, 3.0), 1)):
        made.clear()
        loss = build_training_loss(LossConfig(**NONE, ce=1.0, class_weights=weights), THREE)
        for _ in range(3):
            loss(LOGITS3, TARGET3)
        assert len(made) == n_expected


def soft(logits: Tensor, target: Tensor, share: float = 0.5) -> Any:
    return GIVES[share](logits)


GIVES: dict[float, Any] = {
    0.1: lambda logits: logits.sum(1),
    0.2: lambda logits: 3.0,
    0.3: lambda logits: logits.detach().sum(),
    0.4: lambda logits: logits[99],
    0.5: lambda logits: logits.mean(),
}


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.1, r"parts.py: loss 'soft': must give a tensor with one number .gave 'a tensor of"),
        (0.2, r"parts.py: loss 'soft': must give a tensor with one number \(gave 3.0\)"),
        (0.3, "parts.py: loss 'soft': its value does not depend on the logits"),
        (0.4, "parts.py: loss 'soft': IndexError: index 99 is out of bounds"),
        (0.5, None),
    ],
)
def test_what_a_loss_of_the_user_s_own_must_give(
    share: float, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components, "_COMPONENTS", dict(components._COMPONENTS))
    components.loss(tasks=("binary",), origin="parts.py")(soft)
    config = LossConfig.model_validate({**NONE, "soft": 3.0, "soft_share": share})
    loss = build_training_loss(config, BINARY)
    logits = LOGITS.clone().requires_grad_()
    if said is None:
        assert float(loss(LOGITS, TARGET).total) == pytest.approx(float(LOGITS.mean()))
        with pytest.raises(ConfigError, match=r"loss\.soft: acts in two-class tasks"):
            check_loss_for_task(config, THREE)
        return
    with pytest.raises(ConfigError, match=said):
        loss(logits, TARGET)
