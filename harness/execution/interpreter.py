"""Start a module in a fresh interpreter: `python -P boot.py MODULE`.

`python -m MODULE` searches the current folder first. A user's own `random.py` or `timm.py` there
would be imported instead of the library, and a folder `harness/` instead of this package. So the
current folder is left out (-P), the package is the one that this file belongs to, and the import
folders of the parent come last: a file of parts may import modules next to the user's script.
"""

import json
import os
import runpy
import sys
from importlib import import_module
from pathlib import Path

IMPORT_PATHS_VARIABLE = "HARNESS_IMPORT_PATHS"  # JSON: sys.path of the parent


def module_command(module: str, *arguments: str) -> list[str]:
    """Build the command that runs a module; give it the environment `child_environment`."""
    return [sys.executable, "-P", __file__, module, *arguments]


def child_environment() -> dict[str, str]:
    """Copy the environment of this process and add the import folders for a child."""
    paths = [str(Path(path).absolute()) for path in sys.path]  # "" is the current folder
    return dict(os.environ) | {"PYTHONSAFEPATH": "1", IMPORT_PATHS_VARIABLE: json.dumps(paths)}


def main() -> None:
    """Run the module that the command line names."""
    module = sys.argv.pop(1)
    package_root = Path(__file__).resolve().parents[2]
    sys.path.insert(0, str(package_root))
    # Once the package is imported, its modules are found through its own __path__: the folder can
    # leave sys.path again, where it would show every neighbour of the package.
    import_module("harness")
    del sys.path[0]
    present_paths = set(sys.path)
    inherited = json.loads(os.environ.get(IMPORT_PATHS_VARIABLE, "[]"))
    sys.path += [path for path in inherited if path not in present_paths]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
