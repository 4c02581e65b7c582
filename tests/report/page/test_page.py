import base64
import csv
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.core.records import TrialFailure
from harness.report.page.page import write_report
from tests.report.studies import Builder, a_study

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"


class Page(HTMLParser):
    """The elements of a page, and the text of its scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and data.strip():
            self.scripts[-1] += data
        else:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def json(self, name: str) -> Any:
        place = [attributes.get("id") for attributes in self.of("script")].index(name)
        return json.loads(self.scripts[place])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    study = a_study(tmp_path_factory.mktemp("written"))
    assert write_report(study.paths, study.data_root) == study.paths.report_html
    return study


@pytest.fixture(scope="module")
def page(written: Builder) -> Page:
    return Page(written.paths.report_html)


def test_the_embedded_numbers_are_the_recorded_float64(written: Builder, page: Page) -> None:
    with written.paths.trials_csv.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    data = page.json("harness-data")
    assert data["ranking"] == [3, 4, 6, 0, 1]
    for trial, row in zip(data["trials"], rows, strict=True):
        path = written.paths.trial(trial["number"]).trial_json
        record = json.loads(path.read_text())
        assert {key: record[key] for key in trial} == trial
        assert float(row["value"]) == trial["value"]
    assert data["trials"][3]["best"]["best/dice_loss"] == 0.1234567890123456


def test_the_page_has_every_part(page: Page) -> None:
    anchors = [attributes["id"] for attributes in page.of("section")]
    assert anchors == [
        "gallery",
        "caveats",
        "test",
        "confirmation",
        "leaderboard",
        "configuration",
        "objects",
        "failures",
        "history",
        "effort",
        "curves",
        "importances",
        "budget",
        "parallel",
        "slices",
        "contour",
        "cost",
        "strata",
        "data",
        "study",
        "methods",
        "reproduction",
    ]
    links = [str(attributes["href"]) for attributes in page.of("a")]
    images = [link for link in links if link.startswith("#image-")]
    assert [a["id"] for a in page.of("article")][:6] == [link[1:] for link in images]
    contents = [link for link in links if link not in images]
    assert contents == ["#main", "#answer", *(f"#{anchor}" for anchor in anchors)]
    # complete, paired tests, pruned, causes, failed, objects, roles
    assert len(page.of("table")) == 7

    n_figures = len(page.json("harness-figures"))
    places = [a["data-figure"] for a in page.of("div") if "data-figure" in a]
    assert places == [str(i) for i in range(n_figures)] and n_figures == 19
    # The strip; of each image the outlined and the plain one, its mask, and 3 pictures of 3 trials.
    assert len(page.of("img")) == 6 + 8 * (3 + 3 * 3)


def test_the_answer_and_the_pictures_come_first(page: Page) -> None:
    words = " ".join(page.text.split())
    order = [
        "Which encoder earns its memory?",
        "Leading, not confirmed",
        "0.1235",
        "Next step: harness confirm --study tiny",
        "6 of 8 validation images, worst to best, by trial 3",
        "2 of 8 trials were pruned.",
        "Pictures",
        "Caveats",
        "1 test image has never been opened",
        "No confirmation yet",
        "Leaderboard",
    ]
    text = words[words.index(order[0]) :]
    places = [text.find(part) for part in order]
    assert -1 not in places
    assert [part for _, part in sorted(zip(places, order, strict=True))][:4] == order[:4]
    assert places[6:] == sorted(places[6:])


def test_sections_without_a_figure_are_one_line(page: Page) -> None:
    bare = [a["id"] for a in page.of("section") if a.get("class") == "bare"]
    assert bare == ["test", "confirmation", "importances", "contour"]
    folded = [a for a in page.of("details") if a.get("class") == "fold"]
    assert len(folded) == len(page.of("section")) - len(bare)


def test_each_figure_has_a_visible_sentence(page: Page) -> None:
    labels = [a["aria-labelledby"] for a in page.of("div") if "data-figure" in a]
    captions = [a["id"] for name, a in page.tags if a.get("class") == "finding"]
    assert sorted(captions, key=str) == sorted(labels, key=str) and len(set(labels)) == 19


def test_rows_of_trials_carry_their_number_and_curve(page: Page) -> None:
    numbers = [a["data-trial"] for a in page.of("tr") if "data-trial" in a]
    assert numbers == ["3", "4", "6", "0", "1", "2", "7", "5"]
    curves = page.of("polyline")
    assert len(curves) == 7 and all(a["points"] for a in curves)  # the failed trial has none


def test_the_page_needs_no_script_for_texts_and_pictures(page: Page) -> None:
    """Details open without a script, and every picture has its data in the markup."""
    assert all(str(a["src"]).startswith("data:image/") for a in page.of("img"))
    hidden = [name for name, a in page.tags if "hidden" in a]
    assert hidden == ["label", "ul"]  # slider and legend of the enlarged view


def test_nothing_is_fetched_and_only_known_scripts_run(page: Page) -> None:
    (policy,) = [a["content"] for a in page.of("meta") if "http-equiv" in a]
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "script-src" in policy and "unsafe-eval" not in policy
    run = [
        text
        for text, attributes in zip(page.scripts, page.of("script"), strict=True)
        if attributes.get("type") != "application/json"
    ]
    assert len(run) == 4
    for text in run:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "poster", "action"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), (tag, name, value[:80])


def test_every_picture_has_a_text(page: Page) -> None:
    assert all(attributes["alt"] for attributes in page.of("img"))
    charts = [a for a in page.of("div") if "data-figure" in a]
    assert all(a["role"] == "img" and a["aria-labelledby"] for a in charts)


def test_hostile_texts_stay_text(tmp_path: Path) -> None:
    study = Builder(tmp_path, config={"question": HOSTILE, "data": {"root": HOSTILE}})
    for number in range(5):
        params = {"model.arch": "Unet", "model.options.note": f"{HOSTILE} {number}"}
        shape = {"name": "CategoricalDistribution", "attributes": {"choices": [HOSTILE]}}
        shape["attributes"] = {"choices": [f"{HOSTILE} {i}" for i in range(5)]}
        arch = {"name": "CategoricalDistribution", "attributes": {"choices": ["Unet"]}}
        study.trial(
            number,
            [0.5 + 0.01 * number],
            params,
            distributions={"model.options.note": shape, "model.arch": arch},
            versions={"torch": HOSTILE},
            device=HOSTILE,
        )
    study.trial(5, [], state="failed", failure=TrialFailure(cause=HOSTILE, message=HOSTILE))
    page = Page(write_report(study.paths, None))
    assert len(page.of("script")) == 6 and page.of("img") == []
    assert page.text.count("alert(1)") > 8 and "{{ 7 * 7 }}" in page.text
    drawn = json.dumps(page.json("harness-figures"))
    assert "<script" not in drawn and "<img" not in drawn and "&lt;script&gt;" in drawn


def test_a_study_that_has_just_begun_has_a_page(study: Builder) -> None:
    page = Page(write_report(study.paths, study.data_root))
    assert page.json("harness-data")["trials"] == [] and page.json("harness-figures") == []
    assert page.text.count("No trial is complete yet, so there is nothing to rank.") == 2


def test_running_trials_are_shown_apart(study: Builder) -> None:
    study.trial(0, [0.5])
    study.trial(1, [0.4], state="running")
    page = Page(write_report(study.paths, None))
    assert "Running trials (1) at the time of this report" in page.text
    assert page.json("harness-data")["ranking"] == [0]


def test_pictures_can_be_left_out(written: Builder, tmp_path: Path) -> None:
    study = Builder(tmp_path)
    study.trial(0, [0.5], skill=0.5)
    page = Page(write_report(study.paths, study.data_root, images=False))
    assert page.of("img") == [] and "Sample predictions were left out" in page.text


def test_the_same_study_gives_the_same_page(written: Builder) -> None:
    before = written.paths.report_html.read_bytes()
    write_report(written.paths, written.data_root)
    assert written.paths.report_html.read_bytes() == before


def test_the_command_repeats_the_study(tmp_path: Path) -> None:
    fixed = {"train.epochs": 4, "data.image_size": [32, 48], "model.encoder_weights": None}
    config = {"fixed": fixed, "data": {"root": "my data"}, "seed": 7}
    study = Builder(tmp_path, config=config)
    study.trial(0, [0.5])
    text = write_report(study.paths, None).read_text(encoding="utf-8")
    match = re.search(r'<pre id="command"[^>]*>(.*?)</pre>', text)
    assert match is not None and html.unescape(match[1]) == (
        "harness run --study tiny-again --space studies/tiny/space.yaml --data 'my data' "
        "--trials 8 --sampler tpe --pruner halving --seed 7 --device cpu "
        "--set 'data.image_size=[32, 48]' --set model.encoder_weights=null"
    )


def test_what_the_command_leaves_out_is_said(tmp_path: Path) -> None:
    sampler = {"name": "tpe", "n_startup_trials": 20}
    parts = {"file": "own.py", "sha256": "0" * 64}
    study = Builder(tmp_path, config={"sampler": sampler, "parts": parts})
    text = html.unescape(write_report(study.paths, None).read_text(encoding="utf-8"))
    assert "--seed 0 --parts studies/tiny/own.py" in text
    match = re.search(r'<p class="note" id="outside-settings">(.*?)</p>', text)
    assert match is not None and re.findall("<code>(.*?)</code>", match[1]) == [
        "studies/tiny-again/study.yaml",
        "data.eval_size: 32",
        "sampler.n_startup_trials: 20",
    ]


def test_forty_trials_stay_below_the_size_limit(tmp_path: Path) -> None:
    """At eval_size 352, with pictures as noisy as pictures get: under 15 MB."""
    study = Builder(tmp_path, n_images=12, eval_size=352)
    for number in range(40):
        params = {"optim.lr": 1e-5 * (number + 1), "loss.dice": number / 40}
        losses = [0.9 - 0.001 * number - 0.01 * epoch for epoch in range(20)]
        study.trial(number, losses, params, skill=0.5 if number > 36 else None, planned=20)
    assert write_report(study.paths, study.data_root).stat().st_size < 15e6
