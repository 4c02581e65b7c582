"""Under which licence an encoder and its weights come, as far as the libraries say."""

import timm

from harness.models.registry import TIMM_PREFIX

# Beside the library's own MIT licence, which covers its code for all the others.
_RESTRICTED = {
    "mit_b": "NVIDIA source code licence: non-commercial",
    "mobileone": "Apple's sample code licence",
}

# Of weights trained on more than ImageNet: as their authors state (facebookresearch's
# semi-supervised-ImageNet1K-models and WSL-Images; TensorFlow's tpu repository).
_OF_WEIGHTS = {
    "ssl": "CC BY-NC 4.0: non-commercial",
    "swsl": "CC BY-NC 4.0: non-commercial",
    "instagram": "CC BY-NC 4.0: non-commercial",
    "advprop": "Apache 2.0",
    "noisy-student": "Apache 2.0",
    "noisy-student-475": "Apache 2.0",
}


def licence_of(encoder_name: str, weights: str | None = None) -> str:
    """A short line; data that the weights were trained on (ImageNet) has terms of its own."""
    if encoder_name.startswith(TIMM_PREFIX):
        settings = timm.get_pretrained_cfg(encoder_name.removeprefix(TIMM_PREFIX))
        timm_licence = None if settings is None else settings.license
        return f"{timm_licence} (timm)" if timm_licence else "not told by timm"
    for family, licence in _RESTRICTED.items():
        if encoder_name.startswith(family):
            return licence
    if weights in _OF_WEIGHTS:
        return f"MIT code; weights {_OF_WEIGHTS[weights]}"
    return "MIT code; weights as their authors publish them"
