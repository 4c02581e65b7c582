import io
from pathlib import Path

import cv2
import numpy as np
import pytest

from harness.data.files.source import FolderSource
from harness.data.splits.splits import SplitRow, read_split, write_split
from harness.report.page.data_facts import DataFacts, collect_data_facts
from harness.report.predictions.gallery import build_gallery
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder


def of(study: Builder, root: Path | None) -> DataFacts:
    tables = load_study_tables(study.paths)
    split = read_split(study.paths.split_csv) if study.paths.split_csv.is_file() else []
    return collect_data_facts(tables, split, root, build_gallery(tables, root).shapes)


def test_roles_sizes_and_objects(shared: Builder) -> None:
    found = of(shared, shared.data_root)
    texts = [[cell.text for cell in row] for row in found.roles.rows]
    assert texts == [
        ["train", "1", "1", "40 × 50"],
        ["val", "8", "8", "40 × 50"],
        ["test", "1", "1", "not opened"],
    ]
    facts = dict(found.facts)
    assert facts["height × width"] == "40 × 50 pixels, 1 size in 9 images"
    assert facts["objects (8 validation images)"] == ("8 with one, 0 with two")


def test_objects_are_counted_as_touching_pixels(study: Builder) -> None:
    """Image 1 gets a second object far from its first, image 2 two more."""
    for number, squares in ((1, [(0, 44)]), (2, [(0, 44), (34, 44)])):
        row = study.rows[number]
        mask = cv2.imread(str(study.data_root / row.mask), cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        for top, left in squares:
            mask[top : top + 5, left : left + 5] = 255
        cv2.imwrite(str(study.data_root / row.mask), mask)
    study.trial(0, [0.5], skill=0.8)
    facts = dict(of(study, study.data_root).facts)
    assert facts["objects (8 validation images)"] == (
        "6 with one, 1 with two, 1 with more (maximum 3)"
    )


def test_shares_are_those_of_the_truths(study: Builder) -> None:
    """Two of 128 and six of 512 pixels of 1024: 12.5 % and 50 %. A quarter: 1.75 steps up,

    12.5 + 0.75 · (50 - 12.5) = 40.625.
    """
    from harness.training.metrics.image_scores import scores_from_entries, write_scores

    study.trial(0, [0.5], skill=0.8)
    entries = []
    for row in study.rows[1:-1]:
        found = 128 if row.row < 3 else 512
        sums = (float(found), float(found), float(found))
        entries.append((row.row, row.image, 1, *sums, found, 0, 0, 1024 - found))
    write_scores(study.paths.trial(0).scores_csv, scores_from_entries(entries))
    facts = dict(of(study, None).facts)
    assert facts["foreground share (validation)"] == (
        "median 50 %; interquartile range 40.6 % to 50 %; range 12.5 % to 50 %"
    )
    assert "height × width" not in facts


def test_warnings_of_few_images_and_small_ones(study: Builder) -> None:
    study.trial(0, [0.5], skill=0.8)
    row = study.rows[1]
    cv2.imwrite(str(study.data_root / row.image), np.zeros((20, 30, 3), np.uint8))
    warnings = of(study, study.data_root).warnings
    assert warnings[0].startswith("8 validation images: fewer than 50")
    assert "1 image is smaller than the 32 pixels at which metrics are computed." in warnings
    assert not any("No test images" in warning for warning in warnings)


def test_a_split_without_test_and_with_a_group_is_told(study: Builder) -> None:
    rows = [row for row in study.rows if row.role != "test"]
    first, second, *rest = rows[1:]
    together = SplitRow(**{**vars(second), "group": first.group})
    write_split(study.paths.split_csv, [rows[0], first, together, *rest])
    warnings = of(study, None).warnings
    assert any(warning.startswith("No test images") for warning in warnings)
    assert any(
        warning.startswith("1 image duplicates another image or belongs") for warning in warnings
    )


def test_empty_truths_and_tiny_ones_are_told(study: Builder) -> None:
    """Two images without anything, one with a single pixel of 32 × 32 = 0.098 %."""
    from harness.training.metrics.image_scores import scores_from_entries, write_scores

    study.trial(0, [0.5], skill=0.8)
    entries = []
    for row in study.rows[1:-1]:
        found = {1: 0, 2: 0, 3: 1}.get(row.row, 500)
        sums = (float(found), float(found), float(found))
        entries.append((row.row, row.image, 1, *sums, found, 0, 0, 1024 - found))
    write_scores(study.paths.trial(0).scores_csv, scores_from_entries(entries))
    warnings = of(study, None).warnings
    assert any(
        warning.startswith("2 validation images without foreground: ") for warning in warnings
    )
    assert any(
        warning.startswith("1 mask with foreground below 0.1 % of the image")
        for warning in warnings
    )


def test_test_images_are_not_opened(study: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    open_file = FolderSource.open

    def watched(source: FolderSource, path: str) -> io.BufferedIOBase:
        opened.append(Path(path).name)
        return open_file(source, path)

    monkeypatch.setattr(FolderSource, "open", watched)
    study.trial(0, [0.5], skill=0.8)
    of(study, study.data_root)
    assert "p08.png" in opened and "p09.png" not in opened


def test_a_study_without_a_split_or_scores_says_so(study: Builder) -> None:
    study.paths.split_csv.unlink()
    found = of(study, None)
    assert found.roles.rows == () and found.facts == ()
    assert found.warnings[0].startswith("split.csv is missing")
    assert found.warnings[-1].startswith("No complete trial has scores.csv")


def test_widths_that_differ_are_told(study: Builder) -> None:
    for row, shape in zip(study.rows[1:3], [(40, 40), (40, 80)], strict=True):
        cv2.imwrite(str(study.data_root / row.image), np.zeros((*shape, 3), np.uint8))
    warnings = of(study, study.data_root).warnings
    assert any(w.startswith("Widths are 1 to 2 times the heights") for w in warnings)


def test_rows_that_cannot_be_read_are_not_counted(study: Builder) -> None:
    (study.data_root / study.rows[1].image).write_bytes(b"no picture")
    (study.data_root / study.rows[2].image).unlink()
    facts = dict(of(study, study.data_root).facts)
    assert facts["height × width"] == "40 × 50 pixels, 1 size in 7 images"
