"""Catalogue of losses, networks, optimisers and schedules, without torch.

Each is described once, here. Settings of `loss.`, legal keys, rules of spaces, documentation, the
methods paragraph and the references of a report are derived from these entries. `training` and
`models` map a name to its code; tests assert that both sides agree. A component that a user
registers becomes an entry of the same type (`config.components`). `config.measurements` lists
metrics and costs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

Task = Literal["binary", "multiclass", "multilabel"]
TASKS: tuple[Task, ...] = get_args(Task)
SIGMOID_TASKS: tuple[Task, ...] = ("binary", "multilabel")  # each output is an independent decision
PixelSetting = Literal["label_smoothing", "class_weights"]
PIXEL_SETTINGS: tuple[PixelSetting, ...] = get_args(PixelSetting)
Direction = Literal["minimize", "maximize"]
BUILTIN_ORIGIN: Final = "harness"


@dataclass(frozen=True, kw_only=True)
class LossOption:
    """One option of a loss; its key is `loss.<loss>_<name>`.

    Attributes:
        low, high: bounds, both included; None: unbounded, or bounded by the annotation.
        alternative: a second legal value; a test trains with it and with the default.
        sentence: sentence for the methods paragraph, with {} for the value.
    """

    name: str
    default: Any
    annotation: Any = float
    low: float | None = None
    high: float | None = None
    description: str = ""
    alternative: Any = None
    sentence: str = ""


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """Component that a trial can use, e.g. an optimiser or a learning-rate schedule.

    Attributes:
        title: name in a sentence; "" if that is `name`.
        reference: paper that a report cites; None if it needs no citation.
    """

    name: str
    title: str = ""
    reference: str | None = None


@dataclass(frozen=True, kw_only=True)
class LossEntry(CatalogueEntry):
    """Loss, built in or registered; its weight is `loss.<name>`.

    Attributes:
        tasks: tasks in which it has an effect.
        pixel_settings: shared settings that it uses because it is a mean over pixels.
        needs_partner: it cannot be the only loss with a weight above 0.
        remedy: setting to use in the other tasks.
        effect: condition under which its weight has an effect, as in `field_effect`.
        alternative: a second weight; a test trains with it and with the settings of `needs`.
        origin: `harness`, or the file or package that registered it.
    """

    tasks: tuple[Task, ...] = TASKS
    options: tuple[LossOption, ...] = ()
    pixel_settings: tuple[PixelSetting, ...] = ()
    needs_partner: bool = False
    default_weight: float = 0.0
    description: str | None = None
    remedy: str = ""
    effect: str = "where above 0"
    alternative: float = 1.0
    needs: Mapping[str, Any] = field(default_factory=dict)
    origin: str = BUILTIN_ORIGIN

    def option_key(self, option: LossOption) -> str:
        """Name of an option below `loss.`, e.g. `focal_gamma`."""
        return f"{self.name}_{option.name}"

    @property
    def setting_keys(self) -> tuple[str, ...]:
        """Names of its settings below `loss.`, the weight first."""
        return (self.name, *map(self.option_key, self.options))


@dataclass(frozen=True, kw_only=True)
class NetworkEntry(CatalogueEntry):
    """Architecture that `model.arch` can name.

    Attributes:
        is_library: it is a class of that name in segmentation-models-pytorch; otherwise its code
            is in `models`.
        has_named_encoder: `model.encoder_name` selects its encoder; otherwise its encoder is built
            in, and only depth and learning rate can be set.
    """

    is_library: bool = True
    has_named_encoder: bool = True


@dataclass(frozen=True, kw_only=True)
class MetricEntry:
    """Metric of validation: `val/<name>` of an epoch, `best/<name>` of a trial.

    Attributes:
        title: name on a page.
        direction: direction in which values improve.
        is_bounded: its values lie in [0, 1].
        is_objective: a study can optimise it.
        is_primary: measure of quality that every table, test and figure reports: Dice and IoU.
        leaderboard_position: position of its column on the leaderboard; None without a column.
        remedy: metric to use in the other tasks.
    """

    name: str
    title: str = ""
    direction: Direction = "maximize"
    tasks: tuple[Task, ...] = TASKS
    is_bounded: bool = True
    is_objective: bool = True
    is_primary: bool = False
    leaderboard_position: int | None = None
    remedy: str = ""

    @property
    def key(self) -> str:
        """Key in an epoch and as an objective."""
        return f"val/{self.name}"


# Dice and BCE are the defaults together: the library's Dice, Jaccard and Tversky losses are 0 for
# a class without pixels in the batch, so nothing is learned from it; BCE has a gradient there.
_LOSSES = (
    LossEntry(
        name="dice",
        reference="Milletari, Navab, Ahmadi 2016. V-Net. 3DV. arXiv:1606.04797",
        default_weight=1.0,
        effect="where above 0, together with another loss",
        alternative=0.5,
    ),
    LossEntry(
        name="bce",
        title="binary cross-entropy",
        tasks=SIGMOID_TASKS,
        pixel_settings=PIXEL_SETTINGS,
        default_weight=1.0,
        description="two-class and multilabel tasks",
        remedy="use loss.ce",
        effect="two-class and multilabel tasks, where above 0",
        alternative=0.5,
    ),
    LossEntry(
        name="ce",
        title="cross-entropy",
        pixel_settings=PIXEL_SETTINGS,
        description="cross-entropy of the task: softmax in multiclass tasks, otherwise as bce; a "
        "space that sets it and not bce has bce 0",
        needs={"loss.bce": 0.0},
    ),
    LossEntry(
        name="focal",
        reference="Lin et al. 2017. Focal Loss. ICCV. arXiv:1708.02002",
        pixel_settings=PIXEL_SETTINGS,
        options=(
            LossOption(
                name="gamma",
                default=2.0,
                low=0,
                description="focusing exponent",
                alternative=0.5,
                sentence="The exponent of the focal loss was {}.",
            ),
        ),
    ),
    LossEntry(
        name="jaccard",
        reference="Rahman, Wang 2016. Optimizing Intersection-Over-Union. ISVC. "
        "doi:10.1007/978-3-319-50835-1_22",
    ),
    LossEntry(
        name="tversky",
        reference="Salehi, Erdogmus, Gholipour 2017. Tversky Loss. MLMI. arXiv:1706.05721",
        options=(
            LossOption(
                name="alpha",
                default=0.5,
                low=0,
                high=1,
                description="weight of false positives; false negatives have 1 - alpha",
                alternative=0.9,
                sentence="False positives had weight {} in the Tversky loss.",
            ),
        ),
    ),
    LossEntry(
        name="lovasz",
        reference="Berman, Triki, Blaschko 2018. The Lovász-Softmax Loss. CVPR. arXiv:1705.08790",
    ),
    LossEntry(
        name="boundary",
        reference="Kervadec et al. 2019. Boundary Loss. MIDL. arXiv:1812.07032",
        needs_partner=True,
        description="probability times signed distance in pixels; only together with another "
        "loss of a larger weight, e.g. dice 1 and boundary 0.01; may be negative",
    ),
)
_NETWORKS = (
    NetworkEntry(
        name="Unet",
        reference="Ronneberger, Fischer, Brox 2015. U-Net. MICCAI. arXiv:1505.04597",
    ),
    NetworkEntry(
        name="UnetPlusPlus", reference="Zhou et al. 2018. UNet++. DLMIA. arXiv:1807.10165"
    ),
    NetworkEntry(
        name="MAnet",
        reference="Fan et al. 2020. MA-Net. IEEE Access 8. doi:10.1109/ACCESS.2020.3025372",
    ),
    NetworkEntry(
        name="Linknet", reference="Chaurasia, Culurciello 2017. LinkNet. VCIP. arXiv:1707.03718"
    ),
    NetworkEntry(
        name="FPN", reference="Lin et al. 2017. Feature Pyramid Networks. CVPR. arXiv:1612.03144"
    ),
    NetworkEntry(
        name="PSPNet",
        reference="Zhao et al. 2017. Pyramid Scene Parsing Network. CVPR. arXiv:1612.01105",
    ),
    NetworkEntry(
        name="DeepLabV3",
        reference="Chen et al. 2017. Rethinking Atrous Convolution. arXiv:1706.05587",
    ),
    NetworkEntry(
        name="DeepLabV3Plus",
        reference="Chen et al. 2018. Encoder-Decoder with Atrous Separable Convolution. ECCV. "
        "arXiv:1802.02611",
    ),
    NetworkEntry(
        name="PAN",
        reference="Li et al. 2018. Pyramid Attention Network. BMVC. arXiv:1805.10180",
    ),
    NetworkEntry(
        name="UPerNet",
        reference="Xiao et al. 2018. Unified Perceptual Parsing. ECCV. arXiv:1807.10221",
    ),
    NetworkEntry(
        name="Segformer", reference="Xie et al. 2021. SegFormer. NeurIPS. arXiv:2105.15203"
    ),
    NetworkEntry(
        name="DPT",
        reference="Ranftl, Bochkovskiy, Koltun 2021. Vision Transformers for Dense Prediction. "
        "ICCV. arXiv:2103.13413",
    ),
    NetworkEntry(
        name="fcn",
        reference="Long, Shelhamer, Darrell 2015. Fully Convolutional Networks. CVPR. "
        "arXiv:1411.4038",
        is_library=False,
    ),
    NetworkEntry(
        name="attention_unet",
        reference="Oktay et al. 2018. Attention U-Net. MIDL. arXiv:1804.03999",
        is_library=False,
        has_named_encoder=False,
    ),
)
_OPTIMIZERS = (
    CatalogueEntry(
        name="adamw",
        title="AdamW",
        reference="Loshchilov, Hutter 2019. Decoupled Weight Decay. ICLR. arXiv:1711.05101",
    ),
    CatalogueEntry(
        name="adam", title="Adam", reference="Kingma, Ba 2015. Adam. ICLR. arXiv:1412.6980"
    ),
    CatalogueEntry(name="sgd", title="SGD"),
)
_SCHEDULES = (
    CatalogueEntry(name="constant"),
    CatalogueEntry(
        name="cosine", reference="Loshchilov, Hutter 2017. SGDR. ICLR. arXiv:1608.03983"
    ),
    CatalogueEntry(
        name="onecycle", reference="Smith, Topin 2019. Super-Convergence. arXiv:1708.07120"
    ),
    CatalogueEntry(name="poly", reference="Chen et al. 2018. DeepLab. TPAMI 40. arXiv:1606.00915"),
)
# The order is that of the settings, of error texts and of the sentences of a report.
BUILTIN_LOSS_ENTRIES: Final[Mapping[str, LossEntry]] = {entry.name: entry for entry in _LOSSES}
NETWORKS: Final[Mapping[str, NetworkEntry]] = {entry.name: entry for entry in _NETWORKS}
OPTIMIZERS: Final[Mapping[str, CatalogueEntry]] = {entry.name: entry for entry in _OPTIMIZERS}
SCHEDULES: Final[Mapping[str, CatalogueEntry]] = {entry.name: entry for entry in _SCHEDULES}
BUILTIN_LOSSES: Final[tuple[str, ...]] = tuple(BUILTIN_LOSS_ENTRIES)
