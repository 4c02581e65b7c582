"""Keep `from harness.data_config import VOID` working in files of users and in older studies."""

from harness.config.data import IGNORE_INDEX as VOID

__all__ = ["VOID"]
