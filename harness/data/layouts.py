"""Folders of images and masks as people lay them out, told apart by what is in them."""

import re
import unicodedata
from pathlib import Path
from typing import Final

from harness.data.pairs import (
    ROLE_NAMES,
    SUFFIXES,
    Pair,
    Role,
    file_problem,
    is_clutter,
    list_problems,
)
from harness.data_config import StudyDataConfig
from harness.errors import DataError, nearest

UNDERSTOOD: Final = """
  images/ and masks/, with one stem for an image and its mask
  images/ and masks/<class>/ for each class (multilabel)
  train/, val/ (or valid/, validation/) and test/, each with images/ and masks/
  one folder of pairs such as x.jpg and x_mask.png (or _label, _gt, _seg, with _ or -)
  a CSV file (name the file itself) with the columns image,mask and, if wanted, role,group"""
_MARKED = re.compile(r"(.+)[_-](?:mask|label|gt|seg|segmentation)", re.IGNORECASE)
_LISTS = "splits"  # a folder of published lists may lie beside the pictures


def read_layout(root: Path, data: StudyDataConfig) -> list[Pair]:
    """The pairs of a folder. Nothing is decoded.

    Raises:
        DataError: no layout that is understood, or two at once; else every problem of the files.
    """
    layouts = _layouts(root, data)
    if len(layouts) != 1:
        what = (
            f"two layouts at once ({' and '.join(layouts)}), keep one" if layouts else "no layout"
        )
        raise DataError(f"{root}: {what} of images and masks; these are understood:{UNDERSTOOD}")
    problems: list[str] = []
    if layouts == ["images/ and masks/"]:
        pairs = _parts(root, "", data, None, problems)
    elif layouts == ["train/ val/ test/"]:
        pairs = _by_role(root, data, problems)
    else:
        pairs = _marked(root, problems)
    if problems:
        raise list_problems(problems, f"{root}: ")
    return pairs


def _layouts(root: Path, data: StudyDataConfig) -> list[str]:
    parts = ("images", "masks")
    found = []
    if any((root / part).is_dir() for part in parts):
        found.append("images/ and masks/")
    if any((root / name / part).is_dir() for name in ROLE_NAMES for part in parts):
        found.append("train/ val/ test/")
    if data.task != "multilabel" and _has_marked(root):
        found.append("x.jpg with x_mask.png")
    return found


def _has_marked(root: Path) -> bool:
    stems = {entry.stem for entry in root.iterdir() if entry.suffix.lower() in SUFFIXES}
    return any((match := _MARKED.fullmatch(stem)) and match[1] in stems for stem in stems)


def _by_role(root: Path, data: StudyDataConfig, problems: list[str]) -> list[Pair]:
    pairs: list[Pair] = []
    place: dict[Role, str] = {}
    for name, role in ROLE_NAMES.items():
        if not (root / name).is_dir():
            continue
        if role in place:
            problems.append(f"{place[role]}/ and {name}/ both mean {role}; keep one")
            continue
        place[role] = name
        pairs += _parts(root, f"{name}/", data, role, problems)
    if "train" not in place:
        problems.append("no folder train/ in it")
    return pairs


def _parts(
    root: Path, place: str, data: StudyDataConfig, role: Role | None, problems: list[str]
) -> list[Pair]:
    """The pairs of `place`images/ and `place`masks/; with what is wrong added to `problems`."""
    images = _files_by_stem(root, f"{place}images", problems)
    if data.task != "multilabel":
        folders = [f"{place}masks"]
    elif any((root / f"{place}masks" / name).is_dir() for name in data.classes):
        folders = [f"{place}masks/{name}" for name in data.classes]
        problems += _strangers(root, f"{place}masks", data)
    else:
        wanted = ", ".join(f"{place}masks/{name}/" for name in data.classes)
        problems.append(f"a multilabel task has one folder of masks for each class: {wanted}")
        return []
    masks = [_files_by_stem(root, folder, problems) for folder in folders]
    for one in masks:
        if images and one:
            problems += _unmatched(images, one, of_class=data.task == "multilabel")
    whole = [stem for stem in images if all(stem in one for one in masks)]
    return [Pair(s, images[s], tuple(one[s] for one in masks), role) for s in whole]


def _strangers(root: Path, part: str, data: StudyDataConfig) -> list[str]:
    """What lies in the folder of the classes' folders and is none of them."""
    problems = []
    for entry in sorted(entry for entry in (root / part).iterdir() if not is_clutter(entry)):
        if entry.is_dir() and entry.name not in data.classes:
            hint = nearest(entry.name, data.classes)
            problems.append(f"{f'{part}/{entry.name}'!a}: no class of that name{hint}")
        elif entry.suffix.lower() in SUFFIXES and entry.is_file():
            problems.append(f"{f'{part}/{entry.name}'!a}: put it into the folder of its class")
    return problems


def _marked(root: Path, problems: list[str]) -> list[Pair]:
    """Pairs of one folder, where the mask's stem is the image's with `_mask` or so behind it."""
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for entry in sorted(entry for entry in root.iterdir() if not is_clutter(entry)):
        problem = None if entry.name == _LISTS else file_problem(entry, root)
        stem = unicodedata.normalize("NFC", entry.stem)
        match = _MARKED.fullmatch(stem)
        if problem is not None:
            problems.append(f"{entry.name!a}: {problem}")
        elif entry.suffix.lower() in SUFFIXES:
            _add(masks if match else images, match[1] if match else stem, entry, root, problems)
    problems += _unmatched(images, masks, of_class=False)
    whole = sorted(images.keys() & masks.keys())
    return [Pair(stem, images[stem], (masks[stem],)) for stem in whole]


def _files_by_stem(root: Path, part: str, problems: list[str]) -> dict[str, Path]:
    """Relative paths of the images in one folder, by stem in Unicode's composed form."""
    folder = root / part
    if not folder.is_dir():
        problems.append(f"no folder {part}/ in it")
        return {}
    found: dict[str, Path] = {}
    n_before = len(problems)
    for entry in sorted(entry for entry in folder.iterdir() if not is_clutter(entry)):
        problem = file_problem(entry, root)
        if problem is not None:
            problems.append(f"{str(entry.relative_to(root))!a}: {problem}")
        elif entry.suffix.lower() in SUFFIXES:
            _add(found, unicodedata.normalize("NFC", entry.stem), entry, root, problems)
    if not found and len(problems) == n_before:
        problems.append(f"{part}/ holds no image ({' '.join(SUFFIXES)})")
    return found


def _add(found: dict[str, Path], stem: str, entry: Path, root: Path, problems: list[str]) -> None:
    relative = entry.relative_to(root)
    if stem in found:
        same = "stem" if stem == unicodedata.normalize("NFC", entry.stem) else "image"
        problems.append(f"{relative}: has the same {same} as {found[stem]}; keep one")
    else:
        found[stem] = relative


def _unmatched(images: dict[str, Path], masks: dict[str, Path], *, of_class: bool) -> list[str]:
    if not images.keys() & masks.keys():
        one, other = next(iter(images.values())), next(iter(masks.values()))
        return [f"no mask has the stem of an image (see {one} and {other}); name both alike"]
    where = f" in {next(iter(masks.values())).parent.as_posix()}/" if of_class else ""
    return [
        *(
            f"{path}: has no mask of that stem{where}"
            for s, path in images.items()
            if s not in masks
        ),
        *(f"{path}: has no image of that stem" for s, path in masks.items() if s not in images),
    ]
