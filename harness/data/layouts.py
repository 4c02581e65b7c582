"""Folders of images and masks as people lay them out, told apart by what is in them."""

import re
import unicodedata
from pathlib import Path
from typing import Final, NamedTuple

from harness.data.pairs import (
    ROLE_NAMES,
    SUFFIXES,
    Pair,
    Role,
    entries,
    file_problem,
    is_image_by_content,
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
_IMAGES, _MASKS = "images", "masks"
# What people call the two folders elsewhere; only the two names are read.
_OTHER_NAMES: Final = {
    _IMAGES: ("image", "img", "imgs", "jpegimages", "inputs", "input", "pictures", "photos"),
    _MASKS: ("mask", "label", "labels", "annotations", "gt", "groundtruth", "ground_truth"),
}


class Layout(NamedTuple):
    """The pairs of a folder, and images that lie beside them under names that are not read."""

    pairs: list[Pair]
    unread: list[Path]


def read_layout(root: Path, data: StudyDataConfig) -> Layout:
    """The pairs of a folder. Nothing is decoded; images/, masks/ and roles in any case.

    Raises:
        DataError: no layout that is understood, or two at once; else every problem of the files.
    """
    layouts = _layouts(root, data)
    if len(layouts) > 1:
        two = " and ".join(layouts)
        raise DataError(
            f"{root}: two layouts at once ({two}), keep one of images and masks; these are "
            f"understood:{UNDERSTOOD}"
        )
    if not layouts:
        raise DataError(f"{root}: {_no_layout(root)}")
    reading = _Reading(root, data)
    if layouts == ["images/ and masks/"]:
        pairs = reading.parts("", None)
    elif layouts == ["train/ val/ test/"]:
        pairs = reading.by_role()
    else:
        pairs = reading.marked()
    if reading.problems:
        raise list_problems(reading.problems, f"{root}: ")
    return Layout(pairs, reading.unread)


def _layouts(root: Path, data: StudyDataConfig) -> list[str]:
    parts = (_IMAGES, _MASKS)
    found = []
    if any(_named(root, part) for part in parts):
        found.append("images/ and masks/")
    roles = [folder for name in ROLE_NAMES for folder in _named(root, name)]
    if any(_named(folder, part) for folder in roles for part in parts):
        found.append("train/ val/ test/")
    if data.task != "multilabel" and _has_marked(root):
        found.append("x.jpg with x_mask.png")
    return found


def _named(parent: Path, name: str) -> list[Path]:
    """The folders of that name in any case; one of exactly that name comes first."""
    if not parent.is_dir():
        return []
    found = [e for e in entries(parent) if e.name.casefold() == name and e.is_dir()]
    return sorted(found, key=lambda entry: (entry.name != name, entry.name))


def _has_marked(root: Path) -> bool:
    stems = {entry.stem for entry in entries(root) if entry.suffix.lower() in SUFFIXES}
    return any((match := _MARKED.fullmatch(stem)) and match[1] in stems for stem in stems)


def _no_layout(root: Path) -> str:
    """What is in a folder instead of images and masks, as a sentence."""
    inside = entries(root)
    if not inside:
        return "is empty; it should hold images/ and masks/"
    folders = {entry.name.casefold(): entry.name for entry in inside if entry.is_dir()}
    meant = [
        f"{folders[other]}/ to {name}/"
        for name, others in _OTHER_NAMES.items()
        for other in others
        if other in folders
    ]
    files = [entry for entry in inside if entry.suffix.lower() in SUFFIXES and entry.is_file()]
    marked = [entry for entry in files if _MARKED.fullmatch(entry.stem)]
    if meant:
        hint = f"rename {' and '.join(meant)}"
    elif marked and len(marked) == len(files):
        hint = f"there are masks such as {marked[0].name!a}, but no image of their stems"
    elif files and not marked:
        hint = f"there are images such as {files[0].name!a}, but no mask"
    else:
        hint = ""
    return f"no layout of images and masks; these are understood:{UNDERSTOOD}" + (
        f"\n{hint}" if hint else ""
    )


class _Files(NamedTuple):
    """The images of one folder by stem, and the stems of those that were refused."""

    by_stem: dict[str, Path]
    refused: set[str]


class _Reading:
    """One reading of a folder, which gathers what is wrong with it."""

    def __init__(self, root: Path, data: StudyDataConfig) -> None:
        self.root, self.data = root, data
        self.problems: list[str] = []
        self.unread: list[Path] = []

    def by_role(self) -> list[Pair]:
        """Pairs of train/, val/ and test/."""
        pairs: list[Pair] = []
        place: dict[Role, str] = {}
        for name, role in ROLE_NAMES.items():
            for folder in _named(self.root, name):
                if role in place:
                    self.problems.append(
                        f"{place[role]}/ and {folder.name}/ both mean {role}; keep one"
                    )
                    continue
                place[role] = folder.name
                pairs += self.parts(f"{folder.name}/", role)
        if "train" not in place:
            self.problems.append("no folder train/ in it")
        return pairs

    def parts(self, place: str, role: Role | None) -> list[Pair]:
        """The pairs of `place`images/ and `place`masks/."""
        images, masks = self._folder(f"{place}{_IMAGES}"), [self._folder(f"{place}{_MASKS}")]
        multilabel = self.data.task == "multilabel"
        if multilabel:
            below = masks[0]
            if not any((self.root / below / name).is_dir() for name in self.data.classes):
                wanted = ", ".join(f"{below}/{name}/" for name in self.data.classes)
                self.problems.append(
                    f"a multilabel task has one folder of masks for each class: {wanted}"
                )
                return []
            masks = [f"{below}/{name}" for name in self.data.classes]
            of_images = self._files(images)
            self._strangers(below)
        else:
            of_images = self._files(images)
        of_masks = [self._files(part) for part in masks]
        for one in of_masks:
            self._unmatched(of_images, one, of_class=multilabel)
        found = of_images.by_stem
        whole = [stem for stem in found if all(stem in one.by_stem for one in of_masks)]
        return [
            Pair(stem, found[stem], tuple(one.by_stem[stem] for one in of_masks), role)
            for stem in whole
        ]

    def marked(self) -> list[Pair]:
        """Pairs of one folder, where the mask's stem is the image's with `_mask` or so behind."""
        images, masks = _Files({}, set()), _Files({}, set())
        for entry in entries(self.root):
            if entry.name == _LISTS:
                continue
            stem = unicodedata.normalize("NFC", entry.stem)
            match = _MARKED.fullmatch(stem)
            kind, key = (masks, match[1]) if match else (images, stem)
            self._sort(kind, key, entry)
        self._unmatched(images, masks, of_class=False)
        whole = sorted(images.by_stem.keys() & masks.by_stem.keys())
        return [Pair(stem, images.by_stem[stem], (masks.by_stem[stem],)) for stem in whole]

    def _folder(self, part: str) -> str:
        """A folder as it is spelt on disk; the name itself where it is absent."""
        place, _, name = part.rpartition("/")
        found = [folder.name for folder in _named(self.root / place, name)]
        if len(found) > 1:
            self.problems.append(f"{' and '.join(found)} differ in case only; keep one")
        return f"{place}/{found[0]}".lstrip("/") if found else part

    def _strangers(self, part: str) -> None:
        """What lies in the folder of the classes' folders and is none of them."""
        for entry in entries(self.root / part):
            name = f"{part}/{entry.name}"
            if entry.is_dir() and entry.name not in self.data.classes:
                hint = nearest(entry.name, self.data.classes)
                self.problems.append(f"{name!a}: no class of that name{hint}")
            elif entry.suffix.lower() in SUFFIXES and entry.is_file():
                self.problems.append(f"{name!a}: put it into the folder of its class")

    def _files(self, part: str) -> _Files:
        """Relative paths of the images in one folder, by stem in Unicode's composed form."""
        folder = self.root / part
        found = _Files({}, set())
        if not folder.is_dir():
            self.problems.append(f"no folder {part}/ in it")
            return found
        n_before, n_unread = len(self.problems), len(self.unread)
        for entry in entries(folder):
            self._sort(found, unicodedata.normalize("NFC", entry.stem), entry)
        if not found.by_stem and len(self.problems) == n_before:
            unread = self.unread[n_unread:]
            hint = f"; rename files such as {unread[0].name!a} to one of these" if unread else ""
            self.problems.append(f"{part}/ holds no image ({' '.join(SUFFIXES)}){hint}")
        return found

    def _sort(self, files: _Files, stem: str, entry: Path) -> None:
        """Enter a file under its stem: as one to read, as refused, or as an unread image."""
        problem = file_problem(entry, self.root)
        if problem is not None:
            self.problems.append(f"{str(entry.relative_to(self.root))!a}: {problem}")
            files.refused.add(stem)
        elif entry.suffix.lower() in SUFFIXES:
            self._add(files.by_stem, stem, entry)
        elif is_image_by_content(entry):
            self.unread.append(entry.relative_to(self.root))

    def _add(self, found: dict[str, Path], stem: str, entry: Path) -> None:
        relative = entry.relative_to(self.root)
        if stem in found:
            same = "stem" if stem == unicodedata.normalize("NFC", entry.stem) else "image"
            self.problems.append(f"{relative}: has the same {same} as {found[stem]}; keep one")
        else:
            found[stem] = relative

    def _unmatched(self, images: _Files, masks: _Files, *, of_class: bool) -> None:
        """Name images without mask and masks without image; not those of refused files."""
        if not images.by_stem or not masks.by_stem:
            return  # why there is none has been said of the folder, or of each file
        refused = images.refused | masks.refused
        paired = images.by_stem.keys() & masks.by_stem.keys()
        alone = [stem for stem in images.by_stem if stem not in paired and stem not in refused]
        strays = [stem for stem in masks.by_stem if stem not in paired and stem not in refused]
        if not paired and alone and strays:
            one, other = images.by_stem[alone[0]], masks.by_stem[strays[0]]
            self.problems.append(
                f"no mask has the stem of an image (see {one} and {other}); name both alike"
            )
            return
        folder = next(iter(masks.by_stem.values())).parent
        where = f" in {folder.as_posix()}/" if of_class else ""
        unread = self._unread_in(folder)
        self.problems += [
            f"{images.by_stem[s]}: has no mask of that stem{where}{unread.get(s, '')}"
            for s in alone
        ]
        unread = self._unread_in(next(iter(images.by_stem.values())).parent)
        self.problems += [
            f"{masks.by_stem[s]}: has no image of that stem{unread.get(s, '')}" for s in strays
        ]

    def _unread_in(self, folder: Path) -> dict[str, str]:
        """What to do with the images of a folder under names that are not read, by stem."""
        return {
            unicodedata.normalize("NFC", path.stem): f"; {path.as_posix()!a} is an image: give it "
            f"one of the endings {' '.join(SUFFIXES)}"
            for path in self.unread
            if path.parent == folder
        }
