"""Detect the layout of a folder of images and masks, and list its pairs."""

import unicodedata
from pathlib import Path
from typing import Final, NamedTuple

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError, suggest_nearest
from harness.data.datasets.pairs import (
    ADVICE_UNMATCHED,
    ROLE_NAMES,
    SUFFIXES,
    SUPPORTED_LAYOUTS,
    ImageMaskPair,
    Role,
    file_problem,
    image_stem_of_mask,
    is_image_by_content,
    list_entries,
    problems_error,
)

_LISTS_FOLDER = "splits"  # a folder of published lists next to the images is ignored
_IMAGES, _MASKS = "images", "masks"
# Other common names of the two folders, for a hint: only images/ and masks/ are read.
_OTHER_NAMES: Final = {
    _IMAGES: ("image", "img", "imgs", "jpegimages", "inputs", "input", "pictures", "photos"),
    _MASKS: ("mask", "label", "labels", "annotations", "gt", "groundtruth", "ground_truth"),
}


class FolderListing(NamedTuple):
    """Pairs of a folder, and further images whose suffix is not supported."""

    pairs: list[ImageMaskPair]
    unread: list[Path]


def read_folder_layout(root: Path, data: StudyDataConfig) -> FolderListing:
    """List the pairs of a folder. Nothing is decoded; folder names may be in any case.

    Raises:
        DataError: an unsupported layout, or two layouts; otherwise every problem of the files.
    """
    layout = _single_layout(root, data)
    reader = _FolderReader(root, data)
    if layout == "images/ and masks/":
        pairs = reader.read_subfolders("", None)
    elif layout == "train/ val/ test/":
        pairs = reader.read_role_folders()
    else:
        pairs = reader.read_suffixed_pairs()
    if reader.problems:
        remedy = ADVICE_UNMATCHED if reader.has_unmatched else None
        raise problems_error(reader.problems, f"{root}: ", remedy=remedy)
    return FolderListing(pairs, reader.unread)


def _detect_layouts(root: Path, data: StudyDataConfig) -> list[str]:
    parts = (_IMAGES, _MASKS)
    layouts = []
    if any(_find_subfolders(root, part) for part in parts):
        layouts.append("images/ and masks/")
    roles = [folder for name in ROLE_NAMES for folder in _find_subfolders(root, name)]
    if any(_find_subfolders(folder, part) for folder in roles for part in parts):
        layouts.append("train/ val/ test/")
    if data.task != "multilabel" and _has_suffixed_masks(root):
        layouts.append("x.jpg with x_mask.png")
    return layouts


def _find_subfolders(parent: Path, name: str) -> list[Path]:
    """Folders of that name in any case; the exact spelling comes first."""
    if not parent.is_dir():
        return []
    folders = [e for e in list_entries(parent) if e.name.casefold() == name and e.is_dir()]
    return sorted(folders, key=lambda entry: (entry.name != name, entry.name))


def _has_suffixed_masks(root: Path) -> bool:
    stems = {entry.stem for entry in list_entries(root) if entry.suffix.lower() in SUFFIXES}
    return any(image_stem_of_mask(stem) in stems for stem in stems)


def _single_layout(root: Path, data: StudyDataConfig) -> str:
    layouts = _detect_layouts(root, data)
    if len(layouts) > 1:
        raise DataError(
            f"{root}: two layouts together ({' and '.join(layouts)}); keep one of them; these are "
            f"understood:{SUPPORTED_LAYOUTS}"
        )
    if not layouts:
        raise DataError(f"{root}: {_explain_no_layout(root, data)}")
    return layouts[0]


def _explain_no_layout(root: Path, data: StudyDataConfig) -> str:
    """Sentence about the content of a folder without a layout of images and masks."""
    inside = list_entries(root)
    if not inside:
        return "is empty; it should hold images/ and masks/"
    folders = {entry.name.casefold(): entry.name for entry in inside if entry.is_dir()}
    renames = [
        f"{folders[alias]}/ to {name}/"
        for name, aliases in _OTHER_NAMES.items()
        for alias in aliases
        if alias in folders
    ]
    files = [entry for entry in inside if entry.suffix.lower() in SUFFIXES and entry.is_file()]
    mask_files = [entry for entry in files if image_stem_of_mask(entry.stem)]
    hint = ""
    if renames:
        hint = f"rename {' and '.join(renames)}"
    elif mask_files and len(mask_files) == len(files):
        hint = f"there are masks such as {mask_files[0].name!a}, but no image of their stems"
    elif files and not mask_files:
        hint = f"there are images such as {files[0].name!a}, but no mask"
    elif nested := [e for e in inside if e.is_dir() and _detect_layouts(e, data)]:
        hint = f"{nested[0].name!a} in it has such a layout; name {str(nested[0])!a}"
    text = f"no layout of images and masks; these are understood:{SUPPORTED_LAYOUTS}"
    return f"{text}\n{hint}" if hint else text


class _FilesByStem(NamedTuple):
    """The images of one folder by stem, and the stems of those that were refused."""

    by_stem: dict[str, Path]
    refused: set[str]


class _FolderReader:
    """Reader of one folder, which collects all problems before it fails."""

    def __init__(self, root: Path, data: StudyDataConfig) -> None:
        self.root, self.data = root, data
        self.problems: list[str] = []
        self.unread: list[Path] = []
        self.has_unmatched = False  # a file without its partner

    def read_role_folders(self) -> list[ImageMaskPair]:
        """Read the pairs of train/, val/ and test/."""
        pairs: list[ImageMaskPair] = []
        folder_names: dict[Role, str] = {}
        for name, role in ROLE_NAMES.items():
            for folder in _find_subfolders(self.root, name):
                if role in folder_names:
                    self.problems.append(
                        f"{folder_names[role]}/ and {folder.name}/ both mean {role}; keep one"
                    )
                    continue
                folder_names[role] = folder.name
                pairs += self.read_subfolders(f"{folder.name}/", role)
        if "train" not in folder_names:
            self.problems.append("no folder train/ in it")
        return pairs

    def read_subfolders(self, prefix: str, role: Role | None) -> list[ImageMaskPair]:
        """Read the pairs of `prefix`images/ and `prefix`masks/."""
        images = self._resolve_folder(f"{prefix}{_IMAGES}")
        masks = [self._resolve_folder(f"{prefix}{_MASKS}")]
        mask_folder, multilabel = masks[0], self.data.task == "multilabel"
        if multilabel:
            if not any((self.root / mask_folder / name).is_dir() for name in self.data.classes):
                expected = ", ".join(f"{mask_folder}/{name}/" for name in self.data.classes)
                self.problems.append(
                    f"a multilabel task has one folder of masks for each class: {expected}"
                )
                return []
            masks = [f"{mask_folder}/{name}" for name in self.data.classes]
        image_files = self._list_files(images)
        if multilabel:
            self._check_class_folders(mask_folder)
        mask_sets = [self._list_files(part) for part in masks]
        for mask_files in mask_sets:
            self._check_unmatched(image_files, mask_files, of_class=multilabel)
        image_paths = image_files.by_stem
        complete = [
            stem
            for stem in image_paths
            if all(stem in mask_files.by_stem for mask_files in mask_sets)
        ]
        return [
            ImageMaskPair(
                stem,
                image_paths[stem],
                tuple(mask_files.by_stem[stem] for mask_files in mask_sets),
                role,
            )
            for stem in complete
        ]

    def read_suffixed_pairs(self) -> list[ImageMaskPair]:
        """Read the pairs of one folder in which a mask's stem ends in `_mask`, `_gt` or similar."""
        images, masks = _FilesByStem({}, set()), _FilesByStem({}, set())
        for entry in list_entries(self.root):
            if entry.name == _LISTS_FOLDER:
                continue
            stem = unicodedata.normalize("NFC", entry.stem)
            image_stem = image_stem_of_mask(stem)
            files, key = (images, stem) if image_stem is None else (masks, image_stem)
            self._add_entry(files, key, entry)
        self._check_unmatched(images, masks, of_class=False)
        paired_stems = sorted(images.by_stem.keys() & masks.by_stem.keys())
        return [
            ImageMaskPair(stem, images.by_stem[stem], (masks.by_stem[stem],))
            for stem in paired_stems
        ]

    def _resolve_folder(self, part: str) -> str:
        """Spelling of a folder on disk; the given name if it is absent."""
        parent, _, name = part.rpartition("/")
        names = [folder.name for folder in _find_subfolders(self.root / parent, name)]
        if len(names) > 1:
            self.problems.append(f"{' and '.join(names)} differ in case only; keep one")
        return f"{parent}/{names[0]}".lstrip("/") if names else part

    def _check_class_folders(self, part: str) -> None:
        """Report entries next to the folders of the classes that belong to no class."""
        for entry in list_entries(self.root / part):
            name = f"{part}/{entry.name}"
            if entry.is_dir() and entry.name not in self.data.classes:
                hint = suggest_nearest(entry.name, self.data.classes)
                self.problems.append(f"{name!a}: no class of that name{hint}")
            elif entry.suffix.lower() in SUFFIXES and entry.is_file():
                self.problems.append(f"{name!a}: put it into the folder of its class")

    def _list_files(self, part: str) -> _FilesByStem:
        """Relative paths of the images in one folder, by stem in NFC: macOS decomposes names."""
        folder = self.root / part
        files = _FilesByStem({}, set())
        if not folder.is_dir():
            self.problems.append(f"no folder {part}/ in it")
            return files
        n_before, n_unread = len(self.problems), len(self.unread)
        for entry in list_entries(folder):
            self._add_entry(files, unicodedata.normalize("NFC", entry.stem), entry)
        if not files.by_stem and len(self.problems) == n_before:
            unread = self.unread[n_unread:]
            hint = f"; rename files such as {unread[0].name!a} to one of these" if unread else ""
            self.problems.append(f"{part}/ holds no image ({' '.join(SUFFIXES)}){hint}")
        return files

    def _add_entry(self, files: _FilesByStem, stem: str, entry: Path) -> None:
        """Record a file under its stem as readable, refused, or an image with an unknown suffix."""
        problem = file_problem(entry, self.root)
        if problem is not None:
            self.problems.append(f"{str(entry.relative_to(self.root))!a}: {problem}")
            files.refused.add(stem)
        elif entry.suffix.lower() in SUFFIXES:
            self._add_path(files.by_stem, stem, entry)
        elif is_image_by_content(entry):
            self.unread.append(entry.relative_to(self.root))

    def _add_path(self, by_stem: dict[str, Path], stem: str, entry: Path) -> None:
        relative = entry.relative_to(self.root)
        if stem in by_stem:
            same = "stem" if stem == unicodedata.normalize("NFC", entry.stem) else "image"
            self.problems.append(f"{relative}: has the same {same} as {by_stem[stem]}; keep one")
        else:
            by_stem[stem] = relative

    def _check_unmatched(
        self, images: _FilesByStem, masks: _FilesByStem, *, of_class: bool
    ) -> None:
        """Report images without mask and masks without image, except those of refused files."""
        if not images.by_stem or not masks.by_stem:
            return  # the empty folder, or each refused file, has been reported already
        paired = images.by_stem.keys() & masks.by_stem.keys()
        skipped = paired | images.refused | masks.refused
        unpaired_images = [stem for stem in images.by_stem if stem not in skipped]
        unpaired_masks = [stem for stem in masks.by_stem if stem not in skipped]
        if not paired and unpaired_images and unpaired_masks:
            image, mask = images.by_stem[unpaired_images[0]], masks.by_stem[unpaired_masks[0]]
            self.problems.append(
                f"no mask has the stem of an image (see {image} and {mask}); name both alike"
            )
            return
        self.has_unmatched |= bool(unpaired_images or unpaired_masks)
        folder = next(iter(masks.by_stem.values())).parent
        where = f" in {folder.as_posix()}/" if of_class else ""
        unread = self._unread_hints(folder)
        self.problems += [
            f"{images.by_stem[s]}: has no mask of that stem{where}{unread.get(s, '')}"
            for s in unpaired_images
        ]
        unread = self._unread_hints(next(iter(images.by_stem.values())).parent)
        self.problems += [
            f"{masks.by_stem[s]}: has no image of that stem{unread.get(s, '')}"
            for s in unpaired_masks
        ]

    def _unread_hints(self, folder: Path) -> dict[str, str]:
        """Advice for images of a folder that have an unsupported suffix, by stem."""
        return {
            unicodedata.normalize("NFC", path.stem): f"; {path.as_posix()!a} is an image: give it "
            f"one of the endings {' '.join(SUFFIXES)}"
            for path in self.unread
            if path.parent == folder
        }
