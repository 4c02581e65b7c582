"""Findings and statistics of a dataset whose faults are known."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.core import files
from harness.core.paths import Workspace
from harness.data.datasets.pairs import Role
from harness.data.scan.near_duplicates import DuplicatePair
from harness.data.scan.scan import DatasetScan, duplicates_among
from harness.data.splits.splits import SplitRow, write_split
from harness.inspection.findings import Finding
from harness.inspection.panels import N_ORDINARY, build_galleries, draw_pair, outline_legend
from harness.inspection.report import (
    POLICY,
    InspectionReport,
    inspect_dataset,
    render_inspection_page,
    write_inspection_page,
)
from harness.inspection.sealed_images import describe_sealed, find_sealed_images
from tests.data.make import DATA, encode, folder, picture, save, square
from tests.inspection.datasets import mixed, overview


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> DatasetScan:
    return overview(mixed(tmp_path_factory.mktemp("mixed")))


@pytest.fixture(scope="module")
def found(seen: DatasetScan) -> InspectionReport:
    return inspect_dataset(seen, duplicates_among(seen.pair_stats))


def by_topic(found: InspectionReport) -> dict[str, Finding]:
    return {finding.topic: finding for finding in found.findings}


def test_each_fault_is_found_once_with_its_file(found: InspectionReport) -> None:
    files = {topic: finding.files for topic, finding in by_topic(found).items()}
    assert files == {
        "cannot be used": ("images/bad.png",),
        "exact copies": ("images/000.png = images/copied.png",),
        "empty masks": ("images/empty.png",),
        "noisy masks": ("images/noisy.png",),
        "alpha": ("images/rgba.png",),
        "EXIF orientation": ("images/turned.jpg",),
        "black border": ("images/bordered.png",),
    }
    assert len(found.findings) == 7


def test_errors_come_first_and_say_what_to_do(found: InspectionReport) -> None:
    first = found.findings[0]
    assert (first.severity, found.count("error"), found.count("warning")) == ("error", 1, 0)
    assert first.what.startswith("images/bad.png: ")
    assert "again" in first.remedy


def test_pairs_left_out_on_purpose_are_warnings(seen: DatasetScan) -> None:
    skipped = inspect_dataset(seen, [], skip_bad=True)
    assert (skipped.count("error"), skipped.count("warning")) == (0, 1)


def test_statistics(found: InspectionReport) -> None:
    numbers = found.statistics
    assert (numbers.n_pairs, numbers.n_bad, numbers.n_empty, numbers.n_full) == (9, 1, 1, 0)
    assert numbers.sizes == ((24, 32, 7), (40, 60, 1), (32, 24, 1))
    assert numbers.stored == {"PNG RGB 8 bit": 7, "PNG RGBA 8 bit": 1, "JPEG RGB 8 bit": 1}
    assert numbers.mask_values == {"two-valued": 8, "noisy": 1}
    background, foreground = numbers.shares
    assert (foreground.n_images, foreground.n_objects, foreground.least) == (8, 8, 0.0)
    assert foreground.greatest == pytest.approx(80 / 768)
    assert background.n_objects is None


def test_result_is_json(found: InspectionReport) -> None:
    plain = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert plain["format"] == 1
    assert plain["statistics"]["n_pairs"] == 9
    assert plain["findings"][0]["files"] == ["images/bad.png"]


def test_mostly_empty_masks_are_a_warning(tmp_path: Path) -> None:
    folder(tmp_path, 5)
    for index in range(3):
        save(tmp_path / f"masks/{index:03d}.png", np.zeros((24, 32), np.uint8))
    (finding,) = inspect_dataset(overview(tmp_path), []).findings
    assert (finding.severity, finding.what) == ("warning", "3 masks of 5 without foreground")


def test_class_that_never_occurs_is_a_warning(tmp_path: Path) -> None:
    save(tmp_path / "images/a.png", picture(1))
    save(tmp_path / "masks/a.png", np.zeros((24, 32), np.uint8))
    topics = by_topic(inspect_dataset(overview(tmp_path), []))
    assert topics["absent class"].what == "no mask contains the class 'foreground'"


def test_copies_on_two_sides_are_errors_if_exact(tmp_path: Path) -> None:
    seen = overview(folder(tmp_path, 4))
    roles = ("train", "val", "train", "test")
    pairs = tuple(
        replace(pair, role=role) for pair, role in zip(seen.dataset.pairs, roles, strict=True)
    )
    seen = replace(seen, dataset=replace(seen.dataset, pairs=pairs))
    copies = [
        DuplicatePair(0, 1, "exact"),
        DuplicatePair(2, 3, "near"),
        DuplicatePair(0, 2, "exact"),
    ]
    severities = {f.topic: (f.severity, f.files) for f in inspect_dataset(seen, copies).findings}
    assert severities == {
        "exact copies on two sides": ("error", ("images/000.png = images/001.png",)),
        "near copies on two sides": ("warning", ("images/002.png = images/003.png",)),
        "exact copies": ("note", ("images/000.png = images/002.png",)),
    }


def test_twins_are_exact_with_the_first_of_equal_pixels(tmp_path: Path) -> None:
    near = picture(0, 96, 96)
    clock = near.copy()
    clock[:4, :8] = 255 - clock[:4, :8]
    for name, image in (("a", near), ("b", clock), ("c", clock), ("d", picture(3, 96, 96))):
        save(tmp_path / f"images/{name}.png", image)
        save(tmp_path / f"masks/{name}.png", 255 * square(96, 96))
    assert duplicates_among(overview(tmp_path).pair_stats) == [
        DuplicatePair(0, 1, "near"),
        DuplicatePair(1, 2, "exact"),
    ]


def test_page_shows_each_kind_of_suspect(tmp_path: Path) -> None:
    seen = overview(mixed(tmp_path / "d"))
    twins = duplicates_among(seen.pair_stats)
    write_inspection_page(
        tmp_path / "x.html",
        inspect_dataset(seen, twins),
        build_galleries(seen, twins),
        legend=outline_legend(seen.dataset.data),
    )
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles[:6] == [
        *("Findings", "Meaning of the values", "Statistics"),
        *("Pictures", "Cannot be used", "Copies"),
    ]
    assert titles[6:] == ["Least foreground", "Most foreground", "Empty masks", "Black borders"]
    # bad: image and mask; copies: 2; foreground: 6 and 6; empty 1; border 1
    assert page.count("<img ") == 2 + 2 + 6 + 6 + 1 + 1
    assert "images/bad.png" in page
    legend = re.findall(r'<span class="swatch" style="background: (.*?)"></span>(.*?)</li>', page)
    assert legend == [("#56b4e9", "foreground"), ("#ff00ff", "black border, text or panels")]


def test_ordinary_pairs_stand_before_the_odd_ones(tmp_path: Path) -> None:
    seen = overview(folder(tmp_path, 30))
    first, *others = build_galleries(seen, [])
    assert first.title == "Ordinary pairs" and len(first.panels) == N_ORDINARY
    odd = {panel.caption for gallery in others for panel in gallery.panels}
    assert not odd & {panel.caption for panel in first.panels}


def test_test_images_that_a_split_seals_are_not_shown(tmp_path: Path) -> None:
    """Of 30 pairs every third is a test image of the study s; one of them cannot be read."""
    workspace = Workspace(tmp_path)
    root = folder(tmp_path / "data", 30)
    save(root / "images/003.png", encode(".png", picture(3))[:100])
    rows = []
    for row in range(30):
        names = (f"images/{row:03d}.png", f"masks/{row:03d}.png")
        hashes = [files.file_sha256(root / name) for name in names]
        role: Role = ("test", "train", "val")[row % 3]
        rows.append(SplitRow(row, *names, role, f"g{row}", *hashes))
    write_split(workspace.study("s").split_csv, rows)
    seen = overview(root)
    sealed = find_sealed_images(workspace)
    assert len(sealed) == 10
    assert describe_sealed(seen, sealed).startswith("9 test images of s are not shown, ")
    captions = " ".join(
        panel.caption for gallery in build_galleries(seen, [], sealed) for panel in gallery.panels
    )
    shown = {int(number) for number in re.findall(r"images/(\d{3})\.png", captions)}
    assert shown and all(number % 3 for number in shown)
    everything = build_galleries(seen, [])
    assert "images/003.png" in " ".join(p.caption for g in everything for p in g.panels)
    assert describe_sealed(seen, {}) == ""


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
