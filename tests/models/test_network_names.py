"""The copy of the libraries' names agrees with the installed libraries."""

import dataclasses

import pytest

from harness.models import network_names
from harness.models.network_names import installed_names, unknown_encoder
from harness.models.write_network_names import collect_names


def test_copy_holds_what_the_installed_libraries_define() -> None:
    """If a library was updated: python -m harness.models.write_network_names."""
    names = installed_names()
    assert names is not None, "network_names.json is of other versions"
    assert dataclasses.asdict(names) == dataclasses.asdict(collect_names())


def test_copy_of_other_versions_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_names.metadata, "version", lambda name: "9.9")
    assert installed_names() is None


def test_unknown_encoders_are_named_with_the_nearest_one() -> None:
    known = (["resnet18"], ["convnext_tiny"])
    assert unknown_encoder("resnet81", *known).endswith("did you mean resnet18?")
    assert unknown_encoder("tu-convnxt_tiny", *known) == (
        "timm has no model 'convnxt_tiny'; did you mean tu-convnext_tiny?"
    )
