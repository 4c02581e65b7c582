"""Start a module in a fresh interpreter: `python -P boot.py MODULE`.

`python -m MODULE` looks into the current folder before anywhere else. There a user's own
`random.py` or `timm.py` would be imported instead of what is meant, and a folder `harness/` instead
of this package. So the current folder is left out (-P), the package is the one that this file
belongs to, and folders that only the parent imports from come last: a file of parts may import what
lies beside the user's script.
"""

import json
import os
import runpy
import sys
from importlib import import_module
from pathlib import Path

PATHS = "HARNESS_IMPORT_PATHS"  # JSON: those of the parent


def parent_paths() -> str:
    """The folders that this process imports from, for `PATHS` of a child."""
    return json.dumps([str(Path(path).absolute()) for path in sys.path])  # "": the current one


def main() -> None:
    """Run the module that the command line names."""
    module = sys.argv.pop(1)
    root = Path(__file__).resolve().parents[2]
    sys.path.insert(0, str(root))
    import_module("harness")  # from now on its modules are looked for below its own folder
    del sys.path[0]
    known = set(sys.path)
    inherited = json.loads(os.environ.get(PATHS, "[]"))
    sys.path += [path for path in inherited if path not in known]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
