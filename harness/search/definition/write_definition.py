"""Write the definition of a study: its split, its space, then study.yaml."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.config.user_code import PartsFile
from harness.core import files, strict_yaml
from harness.core.paths import StudyPaths
from harness.data.splits.splits import SplitRow, write_split
from harness.search.definition.definition import StudyDefinition


def write_definition(
    paths: StudyPaths,
    definition: StudyDefinition,
    split: Sequence[SplitRow],
    augments: Sequence[Path] = (),
    parts: PartsFile | None = None,
) -> None:
    """Write split and space, then study.yaml, whose id marks the study as started.

    Args:
        paths: folder of the study.
        definition: the resolved definition.
        split: rows of split.csv.
        augments: augmentation files, copied into the study.
        parts: parts file (user-defined networks, losses, metrics), copied as it was read.
    """
    copies = {paths.augments / path.name: path.read_bytes() for path in augments}
    if parts is not None:
        copies[paths.parts(parts.path.name)] = parts.data
    # Only files that did not exist are removed on failure: study.yaml may be the user's own.
    targets = [*copies, paths.split_csv, paths.space_yaml, paths.study_yaml]
    new = [path for path in targets if not path.exists()]
    try:
        for path, data in copies.items():
            files.write_bytes(path, data)
        write_split(paths.split_csv, split)
        files.write_text(
            paths.space_yaml, strict_yaml.dump_yaml(definition.recorded_space.as_dict())
        )
        config = definition.config.model_dump(mode="json")
        files.write_text(paths.study_yaml, strict_yaml.dump_yaml(config))
    except BaseException:
        # Also on a signal: the next run would take half a definition for user-written files.
        for path in new:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            paths.augments.rmdir()
        raise
