"""Papers of encoders, weights, samplers, pruners and libraries; cited only where they were used.

Those of networks, losses, optimisers and schedules stand in `harness.config.catalogue`.
"""

from dataclasses import dataclass, field
from typing import Final

# By prefix of the encoder's name without `tu-` and `timm-`; the longest prefix counts, so that
# `resnext50` is not a `resnet` by accident and `mobilenetv3` is not cited as version 2.
ENCODERS: Final = {
    "resnet": "He et al. 2016. Deep Residual Learning. CVPR. arXiv:1512.03385",
    "resnext": "Xie et al. 2017. Aggregated Residual Transformations. CVPR. arXiv:1611.05431",
    "se_": "Hu, Shen, Sun 2018. Squeeze-and-Excitation Networks. CVPR. arXiv:1709.01507",
    "senet": "Hu, Shen, Sun 2018. Squeeze-and-Excitation Networks. CVPR. arXiv:1709.01507",
    "mobilenet_v2": "Sandler et al. 2018. MobileNetV2. CVPR. arXiv:1801.04381",
    "mobilenetv2": "Sandler et al. 2018. MobileNetV2. CVPR. arXiv:1801.04381",
    "mobilenetv3": "Howard et al. 2019. Searching for MobileNetV3. ICCV. arXiv:1905.02244",
    "mobileone": "Vasu et al. 2023. MobileOne. CVPR. arXiv:2206.04040",
    "efficientnet": "Tan, Le 2019. EfficientNet. ICML. arXiv:1905.11946",
    "densenet": "Huang et al. 2017. Densely Connected Convolutional Networks. CVPR. "
    "arXiv:1608.06993",
    "vgg": "Simonyan, Zisserman 2015. Very Deep Convolutional Networks. ICLR. arXiv:1409.1556",
    "xception": "Chollet 2017. Xception. CVPR. arXiv:1610.02357",
    "inception": "Szegedy et al. 2017. Inception-v4. AAAI. arXiv:1602.07261",
    "dpn": "Chen et al. 2017. Dual Path Networks. NeurIPS. arXiv:1707.01629",
    "mit_b": "Xie et al. 2021. SegFormer. NeurIPS. arXiv:2105.15203",
    "convnext": "Liu et al. 2022. A ConvNet for the 2020s. CVPR. arXiv:2201.03545",
    "swin": "Liu et al. 2021. Swin Transformer. ICCV. arXiv:2103.14030",
}
IMAGENET: Final = "Russakovsky et al. 2015. ImageNet Challenge. IJCV 115. arXiv:1409.0575"
SAMPLERS: Final = {
    "tpe": "Bergstra et al. 2011. Algorithms for Hyper-Parameter Optimization. NeurIPS",
    "random": "Bergstra, Bengio 2012. Random Search for Hyper-Parameter Optimization. JMLR 13",
}
PRUNERS: Final = {
    "median": "Golovin et al. 2017. Google Vizier. KDD. doi:10.1145/3097983.3098043",
    "percentile": "Golovin et al. 2017. Google Vizier. KDD. doi:10.1145/3097983.3098043",
    "patient": "Golovin et al. 2017. Google Vizier. KDD. doi:10.1145/3097983.3098043",
    "halving": "Li et al. 2020. Massively Parallel Hyperparameter Tuning. MLSys. arXiv:1810.05934",
    "hyperband": "Li et al. 2018. Hyperband. JMLR 18. arXiv:1603.06560",
}
LIBRARIES: Final = {
    "torch": "Paszke et al. 2019. PyTorch. NeurIPS. arXiv:1912.01703",
    "segmentation-models-pytorch": "Iakubovskii 2019. Segmentation Models PyTorch. "
    "github.com/qubvel-org/segmentation_models.pytorch",
    "timm": "Wightman 2019. PyTorch Image Models. doi:10.5281/zenodo.4414861",
    "albumentations": "Buslaev et al. 2020. Albumentations. Information 11(2). arXiv:1809.06839",
    "optuna": "Akiba et al. 2019. Optuna. KDD. arXiv:1907.10902",
}


def encoder_reference(name: str) -> str | None:
    """Reference of an encoder by the longest known prefix of its name; None if unknown."""
    base_name = name.removeprefix("tu-").removeprefix("timm-")
    prefixes = [prefix for prefix in ENCODERS if base_name.startswith(prefix)]
    return ENCODERS[max(prefixes, key=len)] if prefixes else None


@dataclass
class CitationList:
    """References of a text, numbered in the order in which they are first cited."""

    references: list[str] = field(default_factory=list)

    def __call__(self, text: str, reference: str | None) -> str:
        """Append the number of a reference, `U-Net [1]`; without one, return the text as it is."""
        if reference is None:
            return text
        if reference not in self.references:
            self.references.append(reference)
        return f"{text} [{self.references.index(reference) + 1}]"
