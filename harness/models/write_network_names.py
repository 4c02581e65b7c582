"""Copy the names that the installed network libraries define into `network_names.json`.

`python -m harness.models.write_network_names`, after an update of one of the libraries.
"""

import timm

from harness.models.network_names import NetworkNames, installed_versions, write_names
from harness.models.registry import archs, encoder_names, inactive_keys, option_names


def collect_names() -> NetworkNames:
    """Names that the imported libraries and this package define."""
    return NetworkNames(
        versions=installed_versions(),
        options={arch: list(option_names(arch)) for arch in archs()},
        inactive_keys={arch: sorted(inactive_keys(arch)) for arch in archs()},
        encoders=list(encoder_names()),
        timm_models=timm.list_models(),
    )


if __name__ == "__main__":
    write_names(collect_names())
