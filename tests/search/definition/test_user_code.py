"""The file of a study's own parts: which is executed, and which is not."""

from pathlib import Path

import pytest

from harness.config.user_code import read_parts_file, register_parts_file
from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.search.definition.context import load_study_parts


@pytest.mark.parametrize("named", [False, True])
def test_a_changed_file_is_not_executed(tmp_path: Path, named: bool) -> None:
    paths = StudyPaths(tmp_path / "studies" / "s")
    paths.root.mkdir(parents=True)
    file, traces = paths.parts("own.py"), tmp_path / "traces"
    file.write_text("", encoding="utf-8")
    parts = {"file": "own.py", "sha256": read_parts_file(file).sha256}
    paths.study_yaml.write_text(strict_yaml.dump_yaml({"parts": parts}), encoding="utf-8")
    asked = file if named else None
    assert load_study_parts(paths, asked) == read_parts_file(file)
    file.write_text(f"open({str(traces)!r}, 'w')\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"(?s)study s has started.*parts\.sha256: .* another name"
    ):
        load_study_parts(paths, asked)
    assert not traces.exists()
    register_parts_file(None)
