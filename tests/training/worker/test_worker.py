"""What a worker does before it trains: parts first, then the task that names them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.config import components
from harness.config.study import ObjectiveConfig, TrialConfig
from harness.config.user_code import read_parts_file, register_parts_file
from harness.core.errors import ConfigError
from harness.execution.protocol import TrialTask, encode_message
from harness.training.worker.worker import read_task
from tests.execution.test_local_executor import task

FILE = """from harness import parts

@parts.loss()
def soft(logits, target, width: int = 3): return logits.mean()

@parts.metric(direction="minimize")
def far(probability, truth, valid): return 3.0
"""


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    register_parts_file(None)


def test_a_task_that_names_parts_is_read_after_them(tmp_path: Path) -> None:
    path = tmp_path / "parts.py"
    path.write_text(FILE, encoding="utf-8")
    file = read_parts_file(path)
    register_parts_file(file)
    sent = TrialTask.model_validate(
        task(0, 0).model_dump()
        | {
            "config": TrialConfig.from_flat({"loss.soft": 1.0, "loss.soft_width": 5}),
            "objective": ObjectiveConfig(metric="val/far"),
            "parts": path,
            "parts_sha256": file.sha256,
        }
    )
    line = encode_message(sent)
    register_parts_file(None)
    plain = encode_message(task(1, 0))
    assert "soft" not in components.get_components("loss")
    assert read_task(line) == sent
    assert components.find_component("loss", "soft").origin == str(path)

    read_task(plain)
    assert "soft" not in components.get_components("loss"), "another study's parts are forgotten"

    path.write_text(FILE + "# changed", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"parts.py: has changed since the study began"):
        read_task(line)
