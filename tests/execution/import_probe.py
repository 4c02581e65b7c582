"""Prints where modules come from, as JSON: what a test starts in place of a worker."""

import importlib
import json
import subprocess
import sys

NAMES = ("harness", "random", "select", "statistics", "helper")


def main() -> None:
    found: dict[str, object] = {}
    for name in NAMES:
        try:
            found[name] = getattr(importlib.import_module(name), "__file__", None)
        except ModuleNotFoundError:
            found[name] = "not found"
    child = [sys.executable, "-c", "import sys; print(int(sys.flags.safe_path))"]
    found["safe"] = sys.flags.safe_path
    found["child is safe"] = subprocess.check_output(child, text=True).strip() == "1"
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
