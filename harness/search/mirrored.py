"""What of a trial's folder and record is written into MLflow, in MLflow's words."""

import re
from datetime import datetime
from pathlib import Path


def label_tags(labels: dict[str, str]) -> dict[str, str]:
    """Labels as tags of MLflow, whose keys have few signs and some 250 letters."""
    return {
        f"label.{re.sub(r'[^A-Za-z0-9_. -]', '_', name)[:200]}": text
        for name, text in labels.items()
    }


def epoch_and_row(path: Path) -> tuple[int, int]:
    """Epoch and row of split.csv in the name of an overlay; zeros for another name."""
    match = re.fullmatch(r"(\d+)-(\d+)", path.stem)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def milliseconds(moment: str | None) -> int | None:
    """Since 1970; None for no moment."""
    return None if moment is None else int(datetime.fromisoformat(moment).timestamp() * 1000)
