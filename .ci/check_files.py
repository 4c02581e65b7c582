"""Check files before a commit: the end of text files, and the size of all files.

python .ci/check_files.py [--end-of-file] [--max-kb N] FILE ...
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path


def problems(path: Path, *, end_of_file: bool, max_kb: float | None) -> Iterator[str]:
    """Yield one line for each problem of a file."""
    content = path.read_bytes()
    if end_of_file and content and (not content.endswith(b"\n") or content.endswith(b"\n\n")):
        yield f"{path}: must end with exactly one newline"
    if max_kb is not None and len(content) > 1000 * max_kb:
        yield (
            f"{path}: {len(content) / 1000:,.0f} kB, and the limit is {max_kb:g} kB; models, "
            "caches and databases stay out of git"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all problems; 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--end-of-file", action="store_true")
    parser.add_argument("--max-kb", type=float)
    options = parser.parse_args(arguments)
    lines = [
        line
        for path in options.files
        if path.is_file() and not path.is_symlink()
        for line in problems(path, end_of_file=options.end_of_file, max_kb=options.max_kb)
    ]
    print("\n".join(lines), end="\n" if lines else "")
    return int(bool(lines))


if __name__ == "__main__":
    raise SystemExit(main())
