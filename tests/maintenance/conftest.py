from pathlib import Path

import pytest

from tests.maintenance.workspaces import make_workspace


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with studies `tiny` and `other`; read-only, to be copied."""
    return make_workspace(tmp_path_factory.mktemp("template") / "w").root
