"""References of the methods paragraph, and their numbering.

A reference is printed only if a trial used what it describes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from harness.core.text import join_words

ARCHITECTURES: Final = {
    "Unet": "Ronneberger, Fischer, Brox 2015. U-Net. MICCAI. arXiv:1505.04597",
    "UnetPlusPlus": "Zhou et al. 2018. UNet++. DLMIA. arXiv:1807.10165",
    "MAnet": "Fan et al. 2020. MA-Net. IEEE Access 8. doi:10.1109/ACCESS.2020.3025372",
    "Linknet": "Chaurasia, Culurciello 2017. LinkNet. VCIP. arXiv:1707.03718",
    "FPN": "Lin et al. 2017. Feature Pyramid Networks. CVPR. arXiv:1612.03144",
    "PSPNet": "Zhao et al. 2017. Pyramid Scene Parsing Network. CVPR. arXiv:1612.01105",
    "PAN": "Li et al. 2018. Pyramid Attention Network. BMVC. arXiv:1805.10180",
    "DeepLabV3": "Chen et al. 2017. Rethinking Atrous Convolution. arXiv:1706.05587",
    "DeepLabV3Plus": "Chen et al. 2018. Encoder-Decoder with Atrous Separable Convolution. ECCV. "
    "arXiv:1802.02611",
    "UPerNet": "Xiao et al. 2018. Unified Perceptual Parsing. ECCV. arXiv:1807.10221",
    "Segformer": "Xie et al. 2021. SegFormer. NeurIPS. arXiv:2105.15203",
    "DPT": "Ranftl, Bochkovskiy, Koltun 2021. Vision Transformers for Dense Prediction. ICCV. "
    "arXiv:2103.13413",
    "fcn": "Long, Shelhamer, Darrell 2015. Fully Convolutional Networks. CVPR. arXiv:1411.4038",
    "attention_unet": "Oktay et al. 2018. Attention U-Net. MIDL. arXiv:1804.03999",
}
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
LOSSES: Final = {
    "dice": "Milletari, Navab, Ahmadi 2016. V-Net. 3DV. arXiv:1606.04797",
    "focal": "Lin et al. 2017. Focal Loss. ICCV. arXiv:1708.02002",
    "jaccard": "Rahman, Wang 2016. Optimizing Intersection-Over-Union. ISVC. "
    "doi:10.1007/978-3-319-50835-1_22",
    "tversky": "Salehi, Erdogmus, Gholipour 2017. Tversky Loss. MLMI. arXiv:1706.05721",
    "lovasz": "Berman, Triki, Blaschko 2018. The Lovász-Softmax Loss. CVPR. arXiv:1705.08790",
}
OPTIMISERS: Final = {
    "adamw": "Loshchilov, Hutter 2019. Decoupled Weight Decay. ICLR. arXiv:1711.05101",
    "adam": "Kingma, Ba 2015. Adam. ICLR. arXiv:1412.6980",
}
SCHEDULES: Final = {
    "cosine": "Loshchilov, Hutter 2017. SGDR. ICLR. arXiv:1608.03983",
    "onecycle": "Smith, Topin 2019. Super-Convergence. arXiv:1708.07120",
    "poly": "Chen et al. 2018. DeepLab. TPAMI 40. arXiv:1606.00915",
}
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

    def cite_all(self, names: Iterable[str], reference_of: dict[str, str]) -> str:
        """Join several names, each with the number of its reference."""
        return join_words([self(name, reference_of.get(name)) for name in names])
