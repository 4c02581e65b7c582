import pytest

from harness.core.text import (
    count,
    display_value,
    format_duration,
    format_range,
    join_words,
    truncate,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (3, "3"), (0.00123456, "0.001235"), ("a", "a"), (2.0, "2")],
)
def test_text_of(value: object, text: str) -> None:
    assert display_value(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (6.0, "6 s"),
        (4.53, "4.5 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_duration_has_no_sixtieth_second(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_short_keeps_what_fits_and_marks_the_cut() -> None:
    assert truncate("abcd", 4) == "abcd" and truncate("abcde", 4) == "abc…"


def test_count_knows_one() -> None:
    assert (count(1, "image"), count(0, "image")) == ("1 image", "0 images")


@pytest.mark.parametrize(
    ("texts", "text"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_among(texts: list[str], text: str) -> None:
    assert join_words(texts) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([5, 3, 4], "3 to 5"),
        ([1e-3, 1e-5], "1e-05 to 0.001"),
        ([8, 8, None], "8"),
        (["b", "a", "b"], "b and a"),
        ([True, False], "true and false"),
        ([None], ""),
    ],
)
def test_span(values: list[object], text: str) -> None:
    assert format_range(values) == text
