"""Secrets, values of the environment, the home folder and names are masked; the rest stays."""

import pytest

from harness.report.masking import PersonalData, mask_text

PERSONAL = PersonalData(
    environment={
        "MY_DB_PASSWORD": "hunter2x",
        "WORK": "/scratch/lab/jane.doe",
        "SHORT": "1",
        "TERM": "xterm",
        "SERVICE_KEY": "k3y!",
    },
    home="/home/jane.doe",
    names={"jane.doe": "USER", "lab-pc-7": "HOST", "ab": "USER"},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://me:pw@host/db", "postgresql://***@host/db"),
        ("sqlite:////data/x.db", "sqlite:////data/x.db"),
        ("http://h/x?token=abc&size=3", "http://h/x?token=***&size=3"),
        ("api_key: 'a b', lr: 0.1", "api_key: ***, lr: 0.1"),
        ('{"client_secret": "x\\"y"}', '{"client_secret": ***y"}'),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("hf_abcdefghijklmnopqrst in a log", "*** in a log"),
        ("could not log in with hunter2x", "could not log in with ***"),
        ("k3y! was refused", "*** was refused"),
        ("/scratch/lab/jane.doe/a.py", "$WORK/a.py"),
        ("File '/home/jane.doe/a.py', line 1", "File '~/a.py', line 1"),
        ("/home/jane.doerr/a.py", "/home/jane.doerr/a.py"),
        ("jane.doe@lab-pc-7: abort", "USER@HOST: abort"),
        ("term xterm, 1 of ab", "term xterm, 1 of ab"),
    ],
)
def test_text_is_masked(text: str, expected: str) -> None:
    assert mask_text(text, PERSONAL) == expected


def test_names_of_images_become_rows_and_the_longest_name_is_replaced_first() -> None:
    names = [("a.png", "image of row 0"), ("images/a.png", "image of row 0")]
    masked = mask_text("cannot read images/a.png (a.png)", PERSONAL, names)
    assert masked == "cannot read image of row 0 (image of row 0)"


def test_name_that_identifies_nobody_stays() -> None:
    personal = PersonalData(environment={}, home="/root", names={"root": "USER"})
    assert mask_text("data: {root: /root/x}", personal) == "data: {root: ~/x}"
