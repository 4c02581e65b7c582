from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import ConfigError
from harness.space.reading.csv_cells import CellMarker, read_cell, write_cell
from harness.space.reading.load_space import read_space, space_from_dict
from harness.space.space import SearchSpace
from tests.space.spaces import LEGAL

GRID = Path(__file__).resolve().parents[3] / "search_spaces" / "unetpp_grid.csv"
OPTION = "model.options.decoder_attention_type"


def space_of(text: str | bytes, folder: Path, **options: Any) -> SearchSpace:
    file = folder / "grid.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_space(file, legal=LEGAL, **options)


def problems_of(text: str | bytes, folder: Path, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        space_of(text, folder, **options)
    return [line.replace(str(folder / "grid.csv"), "grid.csv") for line in caught.value.problems]


def test_the_18_rows_of_the_shipped_grid_in_their_order() -> None:
    """The 18 combinations of depths 3, 4, 5, three pairs of rates, and scse or None."""
    space = read_space(GRID, legal=LEGAL, label=["experiment_num"], ignore=["tested_yet"])
    expected = [
        {"model.encoder_depth": depth, "optim.encoder_lr": encoder, "optim.decoder_lr": decoder,
         OPTION: attention}
        for depth in (3, 4, 5)
        for encoder, decoder in ((1e-05, 0.001), (1e-06, 0.0001), (1e-07, 1e-05))
        for attention in ("scse", None)
    ]  # fmt: skip
    assert list(space.rows) == expected
    assert [label["experiment_num"] for label in space.labels] == [str(n) for n in range(1, 19)]
    assert list(space.grid()) == list(space.combinations()) == expected and space.grid_size == 18


def test_space_of_rows_is_recorded_and_read_back() -> None:
    space = read_space(GRID, legal=LEGAL, label=["experiment_num"], ignore=["tested_yet"])
    assert space_from_dict(space.as_dict(), source="space.yaml", legal=LEGAL) == space


def test_null_of_an_option_of_another_network_is_absent(tmp_path: Path) -> None:
    text = "arch,decoder_attention_type\nUnet,scse\nUnet,\nLinknet,\nLinknet,None\n"
    assert space_of(text, tmp_path).rows == (
        {"model.arch": "Unet", OPTION: "scse"},
        {"model.arch": "Unet", OPTION: None},
        {"model.arch": "Linknet"},
        {"model.arch": "Linknet"},
    )


def test_null_of_a_setting_that_has_no_effect_is_absent(tmp_path: Path) -> None:
    text = "optim.name,momentum\nsgd,0.8\nadam,\n"
    assert space_of(text, tmp_path).rows == (
        {"optim.name": "sgd", "optim.momentum": 0.8},
        {"optim.name": "adam"},
    )
    assert problems_of("optim.name,momentum\nsgd,\nsgd,0.8\n", tmp_path) == [
        "grid.csv:2: row 1: momentum: is null, but has an effect in this row; "
        "give a value, or write default"
    ]


def test_default_leaves_a_setting_out(tmp_path: Path) -> None:
    assert space_of("lr,epochs\ndefault,3\n0.1,4\n", tmp_path).rows == (
        {"train.epochs": 3},
        {"optim.lr": 0.1, "train.epochs": 4},
    )


def test_every_problem_is_named_at_once_with_row_and_column(tmp_path: Path) -> None:
    text = (
        ",lr,encoder_dept,arch,decoder_attention_type,lr,note\n"
        "0,abc,3,Unet,scse,1,x\n"
        "1,1e-05,3,Unett,None,1,x\n"
        "2,-1,3,Unet\n"
        "3,1e-05,3,Linknet,scse,1,x\n"
    )
    assert problems_of(text, tmp_path, label=["nte"], ignore=["note"]) == [
        "grid.csv:1: --label nte: unknown column; did you mean note?",
        "grid.csv:1: encoder_dept: unknown setting; did you mean model.encoder_depth?; "
        "keep it as a tag with --label encoder_dept, or drop it with --ignore encoder_dept",
        "grid.csv:1: lr: a second column of optim.lr; keep one",
        "grid.csv:2: row 1: lr: input should be a valid number (got 'abc')",
        "grid.csv:3: row 2: arch: unknown value 'Unett'; did you mean Unet?",
        "grid.csv:4: row 3: 4 cells where the header has 7",
        f"grid.csv:5: row 4: {OPTION}: unknown option of Linknet; choose from decoder_use_norm",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "grid.csv:1: empty; the first row names settings, e.g. encoder_depth"),
        (b"lr\n", "grid.csv:1: rows: no rows below the header; each row is one trial"),
        (b",\n1,2\n", "grid.csv:1: column 2: has cells but no name; name it, or remove it"),
        (b"lr;epochs\n1;2\n", "grid.csv:1: columns are separated by semicolons; "
                              "save it with commas"),
        (b"lr\tepochs\n1\t2\n", "grid.csv:1: columns are separated by tabs; save it with commas"),
        (b"lr\n0.1\n\x00\n", "grid.csv:3: a control character (code 0); remove it"),
        (b"lr\n\x1b[2J\n", "grid.csv:2: a control character (code 27); remove it"),
        ("lr\n0.1\n".encode("utf-16"), "grid.csv:1: UTF-16, not UTF-8; save it as CSV in UTF-8"),
        (b"lr\n\xe9\n", "grid.csv:2: not UTF-8 text; save it as CSV in UTF-8"),
        (b'lr\n"0.1\n', "grid.csv:2: not CSV: unexpected end of data"),
        (b"lr\n" + b"1" * 200_000 + b"\n", "grid.csv:2: not CSV: field larger than field limit "
                                           "(131072)"),
        (b"lr\n" + b"1" * 20_000 + b"\n", "grid.csv:2: row 1: lr: longer than 10,000 characters"),
        (b"lr\n" + b"0.1\n" * 300_000, "grid.csv: larger than 1 MB"),
        (b"lr\n" + b"0.1\n" * 5_001, "grid.csv: 5,001 rows; at most 5,000 are read"),
        (b"lr\n=1+1\n", "grid.csv:2: row 1: lr: input should be a valid number (got '=1+1')"),
        (b"lr\n.nan\n", "grid.csv:2: row 1: lr: must be a finite number below 2**63 (got nan)"),
        (b"lr\n1e999\n", "grid.csv:2: row 1: lr: 1e999: the number is too large"),
        (b"image_size\n[1\n", "grid.csv:2: row 1: image_size: not a list or quoted text: "
                              "while parsing a flow sequence, expected ',' or ']', but got "
                              "'<stream end>'"),
        (b"encoder_lr,encoder_lr_scale\n0.1,2\n",
         "grid.csv:2: row 1: optim: encoder_lr and encoder_lr_scale are both set; keep one"),
        (b"momentum\n0.1\n0.2\n",
         "grid.csv:1: optim.momentum: has no effect in any row: optim.name is never sgd"),
    ],
)  # fmt: skip
def test_broken_csv_gives_one_clear_line(text: bytes, problem: str, tmp_path: Path) -> None:
    assert problems_of(text, tmp_path) == [problem]


def test_bom_quotes_returns_and_empty_edges_are_read(tmp_path: Path) -> None:
    text = '\ufeffimage_size,augment,\r\n"[64, 96]","light",\r\n\r\n,,\r\n32,"no\nne",\r\n'
    assert "row 2: augment" in problems_of(text, tmp_path)[0]
    space = space_of(text.replace("no\nne", "none"), tmp_path)
    assert space.rows == (
        {"data.image_size": [64, 96], "data.augment": "light"},
        {"data.image_size": 32, "data.augment": "none"},
    )
    assert [place.rpartition(":")[2] for place in space.row_locations] == ["2", "5"]


def test_rows_are_checked_beside_what_will_be_set(tmp_path: Path) -> None:
    text = "decoder_dropout\n0.1\n0.2\n"
    assert "unknown option of Unet" in problems_of(text, tmp_path)[0]
    assert len(space_of(text, tmp_path, overrides={"arch": "FPN"}).rows) == 2


def test_label_is_for_csv_only(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("parameters: {}\n")
    with pytest.raises(ConfigError, match="--label a: applies only to a CSV"):
        read_space(file, legal=LEGAL, label=["a"])


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-05", 1e-05), ("010", 10), ("true", True), ("no", "no"), ("", None), ("None", None),
     ("null", None), (" 3 ", 3), ("[1, a]", [1, "a"]), ('"3"', "3"), ("'=x", "=x"), ("'x", "'x"),
     ("default", CellMarker.DEFAULT), ("-1", -1)],
)  # fmt: skip
def test_cell(text: str, value: object) -> None:
    read = read_cell(text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -3, 1e-05, -0.5, 1e22, "scse", "3", "null", "None", "", " x", "=1+1", "'=1",
     "'a", "-x", "+", "@y", "\tz", "default", "[a", '"', "no", "a,b", "é💡", "two\nlines",
     [1, "a", None], CellMarker.DEFAULT, [[1.5], "]"]],
)  # fmt: skip
def test_written_cell_reads_back_and_is_no_formula(value: object) -> None:
    text = write_cell(value)
    assert read_cell(text) == value
    assert isinstance(value, int | float) or not text.startswith(("=", "+", "-", "@", "\t", "\r"))
