"""Values in the files of `harness init` are read back as they are, whatever they contain."""

import pytest

from harness.core import strict_yaml
from harness.inspection.starter import _inline, _split_line


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("polyp", "polyp"),
        ("/data/my cells!", "/data/my cells!"),
        ("1.5", '"1.5"'),
        ("a: b", '"a: b"'),
        ("a, b", '"a, b"'),
        ("x] # y", '"x] # y"'),
        ("- {", '"- {"'),
        ('"\n', '"\\"\\n"'),
        (["background", "3"], '[background, "3"]'),
        ({"#ff0000": "car"}, '{"#ff0000": "car"}'),
        (None, "null"),
    ],
)
def test_value_survives_yaml(value: object, text: str) -> None:
    assert _inline(value) == text
    assert strict_yaml.load_yaml(f"key: {text}   # comment", source="").value == {"key": value}


@pytest.mark.parametrize(
    ("n_images", "fractions", "n_val"),
    [(1000, "[0.8, 0.1, 0.1]", 100), (100, "[0.7, 0.2, 0.1]", 20), (30, "[0.6, 0.3, 0.1]", 9)],
)
def test_small_data_sets_give_up_more_images_for_validation(
    n_images: int, fractions: str, n_val: int
) -> None:
    line = _split_line(n_images, has_roles=False)
    assert f"fractions: {fractions}" in line and f"about {n_val} images" in line
    assert _split_line(n_images, has_roles=True).startswith("#")
