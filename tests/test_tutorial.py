"""The notebook of the tutorial runs from its first cell to its last, and is small."""

import json
import re
from pathlib import Path

import pytest

from harness.core.paths import StudyPaths
from harness.core.records import read_records
from harness.evaluation.confirm.load_confirmation import load_confirmation

PATH = Path(__file__).resolve().parents[1] / "docs" / "tutorial.ipynb"


def test_notebook_is_stored_without_outputs_and_without_facts_of_a_machine() -> None:
    text = PATH.read_text(encoding="utf-8")
    code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 8
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len(text) < 20_000 and "/home/" not in text


def test_links_of_the_notebook_lead_to_pages() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", PATH.read_text(encoding="utf-8"))
    assert links and [link for link in links if not (PATH.parent / link).exists()] == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_notebook_runs(workspace: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient").NotebookClient(
        nbformat.read(PATH, as_version=4),
        kernel_name="python3",
        timeout=3000,
        resources={"metadata": {"path": str(workspace)}},
    )
    notebook = client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(
        output.get("text", "") for output in outputs if output.get("name") == "stdout"
    )
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2
    study = StudyPaths(workspace / "studies" / "tutorial")
    records = read_records(study)
    assert len(records) == 6 and {record.state for record in records} <= {"complete", "pruned"}
    assert min(record.value for record in records if record.value is not None) < 0.35
    confirmation = load_confirmation(study)
    assert confirmation is not None and confirmation.sentence in printed
    assert "possible: True, problems: 0" in printed
    assert "test number 1" in printed and "5 files, 0 failures" in printed
    assert "studies/tutorial/report.html" in printed
