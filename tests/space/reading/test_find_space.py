from pathlib import Path

import pytest

from harness.core.errors import ConfigError
from harness.core.paths import Workspace
from harness.space.reading.load_space import find_space


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace different from the current folder, with one search space."""
    (tmp_path / "ws" / "search_spaces").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "ws" / "search_spaces" / "mine.yaml").write_text("{}")
    monkeypatch.chdir(tmp_path / "here")
    return Workspace(tmp_path / "ws")


@pytest.mark.parametrize("name", ["mine", "mine.yaml"])
def test_space_of_the_workspace_is_found_with_and_without_ending(
    name: str, workspace: Workspace
) -> None:
    assert find_space(name, workspace) == workspace.search_spaces / "mine.yaml"


@pytest.mark.parametrize("name", ["encoders", "encoders.yaml"])
def test_shipped_space_is_found_from_anywhere(name: str, workspace: Workspace) -> None:
    assert find_space(name, workspace).read_text().startswith("# Which encoder is worth its memory")


def test_path_comes_before_the_workspace_and_that_before_the_shipped(workspace: Workspace) -> None:
    own = workspace.search_spaces / "encoders.yaml"
    own.write_text("{}")
    assert find_space("encoders", workspace) == own
    Path("encoders.yaml").write_text("{}")
    assert find_space("encoders", workspace) == Path("encoders.yaml")


def test_path_may_have_any_ending(workspace: Workspace) -> None:
    Path("a.space").write_text("{}")
    Path("dotted.v2.yaml").write_text("{}")
    assert find_space("a.space", workspace) == Path("a.space")
    assert find_space(str(Path.cwd() / "a.space"), workspace) == Path.cwd() / "a.space"
    assert find_space("dotted.v2", workspace) == Path("dotted.v2.yaml")


def test_folder_of_that_name_does_not_hide_the_space(workspace: Workspace) -> None:
    Path("mine").mkdir()
    assert find_space("mine", workspace) == workspace.search_spaces / "mine.yaml"


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("polyp.yaml", "polyps.yaml"),  # and not unetpp.yaml, for their common ending
        ("Polyps.yml", "polyps.yaml"),
        ("far/polyp.yaml", "far/polyps.yaml"),
        ("far/encodrs.yaml", "encoders.yaml"),
        ("far/zebra.yaml", None),  # like nothing; the folder's name is no likeness
        ("nowhere/quikstart", "quickstart.yaml"),
    ],
)
def test_the_nearest_space_of_the_same_folder_is_suggested(
    name: str, suggested: str | None, workspace: Workspace
) -> None:
    for file in ("polyps.yaml", "far/polyps.yaml", "far/abc.csv"):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text("{}")
    for asked in (name, str(Path.cwd() / name) if suggested and "/" in suggested else name):
        with pytest.raises(ConfigError) as caught:
            find_space(asked, workspace)
        said = str(caught.value)
        if suggested is None:
            assert "did you mean" not in said
            continue
        found = said.partition("did you mean ")[2].removesuffix("?")
        assert found.endswith(suggested)
        assert find_space(found, workspace).is_file(), "the advice can be followed"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("encodrs", r"^encodrs: unknown search space; did you mean encoders.yaml\?$"),
        ("zzz", "^zzz: unknown search space; choose from architectures.yaml, .*mine.yaml"),
        ("", "unknown search space|not a file"),
        ("..", "^..: not a file; a search space is a YAML or CSV file$"),
    ],
)
def test_space_that_is_nowhere_is_refused_with_the_nearest(
    name: str, message: str, workspace: Workspace
) -> None:
    with pytest.raises(ConfigError, match=message):
        find_space(name, workspace)
