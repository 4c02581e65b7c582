"""Markdown from untrusted text: names of files, questions of studies, cells of tables."""

import re
from collections.abc import Sequence

from harness.core.text import truncate

_MAX_LENGTH = 200  # of one value: a longer one would hide the table around it
# All signs but those that are harmless: a hyphen within a word, a colon before a space, and
# parentheses, as every bracket before them is escaped.
_ESCAPED = re.compile(r"(?!(?<=\w)-(?=\w)|:(?= ))[^A-Za-z0-9 .,;%=+/()–×≥≤…']")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_./-](?:[A-Za-z0-9_./ -]*[A-Za-z0-9_./-])?")


def escape_text(text: str) -> str:
    """Text that Markdown and HTML show as it is, on one line.

    Everything but letters, digits, spaces and a few harmless signs becomes a character reference:
    CommonMark takes no reference for a part of its syntax, and HTML none for a tag. Control
    characters, and those that change the direction of writing, are shown by their number.
    """
    return _ESCAPED.sub(_escape_sign, truncate(text, _MAX_LENGTH))


def name_text(name: str) -> str:
    """A name of a file as code if it is plain, else as escaped text.

    Code is never linked, as `www.` in text would be; nothing can be escaped in it.
    """
    if len(name) <= _MAX_LENGTH and _SAFE_NAME.fullmatch(name):
        return f"`{name}`"
    # The full stop as well: GitHub makes links of www.name and of name.tld/path in text.
    return escape_text(name).replace(".", "&#46;")


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are escaped already; "" without rows.

    Raises:
        ValueError: a row has another number of cells than there are titles.
    """
    if not rows:
        return ""
    lines = [titles, ["---"] * len(titles), *rows]
    if any(len(line) != len(titles) for line in lines):
        raise ValueError(f"a row of the table {list(titles)} has another number of cells")
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def facts_list(facts: Sequence[tuple[str, str]]) -> str:
    """Facts as a list, each with its name in bold; values are escaped already."""
    return "".join(f"- **{name}**: {value}\n" for name, value in facts if value)


def code_block(text: str, language: str) -> str:
    """A fenced block; its fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _escape_sign(match: re.Match[str]) -> str:
    sign = match.group()
    if sign.isalnum():
        return sign
    return f"&#{ord(sign)};" if sign.isprintable() else f"U+{ord(sign):04X}"
