"""The page stands alone, and names in it are text."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.data.scan.scan import duplicates_among
from harness.inspection.page import POLICY, render_inspection_page, write_inspection_page
from harness.inspection.panels import build_galleries, draw_pair
from harness.inspection.report import inspect_dataset
from tests.data.make import DATA, folder, picture, square
from tests.inspection.datasets import mixed, overview


def test_page_shows_each_kind_of_suspect(tmp_path: Path) -> None:
    seen = overview(mixed(tmp_path / "d"))
    twins = duplicates_among(seen.pair_stats)
    write_inspection_page(
        tmp_path / "x.html", inspect_dataset(seen, twins), build_galleries(seen, twins)
    )
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles[:5] == [
        *("Findings", "What the values mean", "Statistics"),
        *("Cannot be used", "Copies"),
    ]
    assert titles[5:] == ["Least foreground", "Most foreground", "Empty masks", "Black borders"]
    # bad: image and mask; copies: 2; foreground: 6 and 6; empty 1; border 1
    assert page.count("<img ") == 2 + 2 + 6 + 6 + 1 + 1
    assert "images/bad.png" in page


def test_page_asks_for_nothing_and_runs_nothing(tmp_path: Path) -> None:
    seen = overview(folder(tmp_path, 3))
    page = render_inspection_page(inspect_dataset(seen, []), build_galleries(seen, []))
    assert POLICY.startswith("default-src 'none'") and "script-src" not in POLICY
    assert f'content="{POLICY}"'.replace("'", "&#39;") in page
    assert "<script" not in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(source.startswith(("#", "data:")) for source in sources)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    name = '<img src=x onerror="alert(1)">'
    root = folder(tmp_path, 1)
    for part in ("images", "masks"):
        (root / part / "000.png").rename(root / part / f"{name}.png")
    seen = overview(root)
    seen = replace(seen, dataset=replace(seen.dataset, name=name))
    page = render_inspection_page(inspect_dataset(seen, []), build_galleries(seen, []))
    assert name not in page
    assert "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;" in page


def test_contours_lie_on_the_edge_of_the_mask() -> None:
    image = 0 * picture(1, 64, 64)
    drawn = draw_pair(image, square(64, 64), DATA)
    assert drawn.shape == (64, 64, 3)
    rows, columns = drawn.any(axis=2).nonzero()
    ends = (rows.min(), rows.max(), columns.min(), columns.max())
    assert np.allclose(ends, (4, 11, 6, 15), atol=1)  # the line is two pixels wide
    assert not drawn[6:10, 8:14].any()
