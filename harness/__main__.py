"""`python -m harness` is `harness`."""

import sys

if not sys.flags.safe_path:
    # The current folder comes first then. What lies there must not be taken for what we import; it
    # stays importable, for a file of parts.
    sys.path.append(sys.path.pop(0))

from harness.cli import entry

entry()
