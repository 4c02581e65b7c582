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

IMPORT_PATHS_VARIABLE = "HARNESS_IMPORT_PATHS"  # JSON: those of the parent


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module, and whatever Python it starts, in `child_environment`."""
    return [sys.executable, "-P", __file__, module, *arguments]


def child_environment() -> dict[str, str]:
    """The environment of this process, with where a child of it imports from."""
    paths = [str(Path(path).absolute()) for path in sys.path]  # "" is the current folder
    return dict(os.environ) | {"PYTHONSAFEPATH": "1", IMPORT_PATHS_VARIABLE: json.dumps(paths)}


def main() -> None:
    """Run the module that the command line names."""
    module = sys.argv.pop(1)
    package_root = Path(__file__).resolve().parents[2]
    sys.path.insert(0, str(package_root))
    import_module("harness")  # from now on its modules are looked for below its own folder
    del sys.path[0]
    present_paths = set(sys.path)
    inherited = json.loads(os.environ.get(IMPORT_PATHS_VARIABLE, "[]"))
    sys.path += [path for path in inherited if path not in present_paths]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
