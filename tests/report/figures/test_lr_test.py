import pytest

from harness.report.figures.lr_test import draw_lr_test, points_csv
from harness.report.figures.standalone import figure_page

POINTS = [(1, 1e-3, 0.9, 0.85), (2, 1e-2, 0.8, 0.85)]


def test_figure_shows_each_loss_the_smoothed_one_and_the_marks() -> None:
    figure = draw_lr_test(POINTS, {"steepest fall": 2e-3})
    raw, smoothed, mark = figure.data
    assert (list(raw.x), list(raw.y)) == ([1e-3, 1e-2], [0.9, 0.8])
    assert list(smoothed.y) == [0.85, 0.85]
    assert mark.name == "steepest fall 2.0e-03" and figure.layout.shapes[0].x0 == 2e-3
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis.title.text == "learning rate (logarithmic)"
    assert figure.layout.yaxis.title.text == "training loss (lower is better)"


def test_fall_fills_the_figure_whatever_comes_after_it() -> None:
    means = [0.8, 0.5, 40.0]
    figure = draw_lr_test([(i, 10.0**i, 1.0, mean) for i, mean in enumerate(means)], {})
    assert figure.layout.yaxis.range == pytest.approx((0.2, 1.1))
    assert draw_lr_test(POINTS, {}).layout.yaxis.range is None


def test_page_shows_text_as_text() -> None:
    page = figure_page("a <b>", ["x </p><script>alert(1)</script>"], draw_lr_test(POINTS, {}))
    assert "<script>alert" not in page and "a &lt;b&gt;" in page


def test_points_keep_every_digit() -> None:
    assert points_csv([(1, 1 / 3, 0.1, 0.1)]) == (
        "step,lr,loss,smoothed\n1,0.3333333333333333,0.1,0.1\n"
    )
