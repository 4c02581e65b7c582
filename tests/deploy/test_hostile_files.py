"""The hostile files are what they claim to be, and reading agrees with what is expected."""

import re
from pathlib import Path

import pytest

from harness.core.errors import DataError
from harness.data.files.image_io import read_image
from tests.deploy.hostile_files import HostileFile, hostile_files, uploads

FILES = hostile_files()


def test_there_are_many_and_their_names_differ() -> None:
    names = [file.name for file in FILES]
    assert len(set(names)) == len(names) >= 100
    assert len(uploads()) >= 90


@pytest.mark.parametrize("file", FILES, ids=[ascii(file.name)[1:40] for file in FILES])
def test_reading_gives_the_expected_size_or_sentence(tmp_path: Path, file: HostileFile) -> None:
    path = file.write(tmp_path)
    if isinstance(file.expected, str):
        with pytest.raises(DataError) as caught:
            read_image(path, 100e6)
        sentence = str(caught.value).removeprefix(f"{path}: ")
        assert re.search(file.expected, sentence) and "\n" not in sentence
    else:
        assert read_image(path, 100e6).shape == (*file.expected, 3)
