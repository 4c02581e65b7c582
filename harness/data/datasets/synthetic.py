"""Generate polyp-like images for tests and demonstrations.

Each image is a height map of mucosa with folds, vessels and polyps, lit by a lamp next to the
camera. It contains what makes polyps hard to find in colonoscopy: small or barely coloured polyps,
polyps half hidden by a fold, and lookalikes such as folds, highlights and yellow mucus. So better
configurations score better.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from harness.core.atomic_dir import atomic_directory
from harness.core.errors import DataError

Array8 = NDArray[np.uint8]
Plane = NDArray[np.float32]
Progress = Callable[[int, int], None]

JPEG_QUALITY: Final = 95
DIFFICULTY: Final = 0.33
_ASPECTS: Final = (1.0, 1.0, 1.13, 1.25)  # Kvasir-SEG: mostly 1.0 to 1.3
_MUCOSA: Final = np.array([0.86, 0.47, 0.37], np.float32)  # RGB
_MUCUS: Final = np.array([0.86, 0.70, 0.34], np.float32)
_VESSEL: Final = np.array([0.86, 0.52, 0.55], np.float32)  # factors
_POLYP_TINTS: Final = np.array([[1.05, 0.72, 0.70], [1.06, 1.22, 1.22], [0.86, 0.80, 0.90]])


def generate_dataset(
    folder: Path,
    *,
    count: int = 64,
    size: int = 160,
    seed: int = 0,
    difficulty: float = DIFFICULTY,
    progress: Progress | None = None,
) -> Path:
    """Write `images/*.jpg` and `masks/*.png` (0 and 255) into a new folder atomically.

    Image i depends on seed, size, difficulty and i only. None is empty.

    Args:
        size: pixels of the shorter side.
        difficulty: share of polyps that are flat and hardly coloured, 0 to 1. At 0 each image has
            one large polyp, clearly redder or paler than its surroundings, and neither folds hide
            it nor mucus resembles it.

    Returns:
        The folder.

    Raises:
        DataError: the folder exists.
    """
    if folder.exists():
        raise DataError(f"{folder}: exists already; name a new folder")
    with atomic_directory(folder) as temporary:
        for part in ("images", "masks"):
            (temporary / part).mkdir()
        for index in range(count):
            image, mask = draw_image(size, seed, index, difficulty)
            options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            name = f"polyp-{index:04d}"
            _write_image(temporary / "images" / f"{name}.jpg", image[:, :, ::-1], options)
            _write_image(temporary / "masks" / f"{name}.png", 255 * mask, [])
            if progress is not None:
                progress(index + 1, count)
    return folder


@dataclass(frozen=True)
class _PixelGrid:
    """Coordinates of every pixel in units of the shorter side, (0, 0) in the middle."""

    x: Plane
    y: Plane

    @property
    def shape(self) -> tuple[int, int]:
        return self.x.shape[0], self.x.shape[1]


@dataclass
class _SceneMaps:
    """Maps of one scene: height in units of the shorter side, reflected colour, darkness."""

    height: Plane
    colour: Plane  # (H, W, 3), about 0..1
    depth: Plane  # 0 near the camera, 1 down the lumen


def draw_image(
    size: int, seed: int, index: int, difficulty: float = DIFFICULTY
) -> tuple[Array8, Array8]:
    """One image: uint8 (H, W, 3) RGB and its mask uint8 (H, W) in {0, 1}."""
    # A sequence, not a sum: with seed + index, image 1 of seed 0 would be image 0 of seed 1.
    rng = np.random.default_rng([seed, index])
    view = _view(rng, size)
    frame = _frame(rng, view)
    scene = _make_wall(rng, view)
    bare_colour = scene.colour.copy()
    mask = np.zeros(view.shape, bool)
    if difficulty == 0:
        mask |= _add_polyp(rng, view, scene, frame, difficulty)
    else:
        for _ in range(int(rng.choice([1, 2, 3], p=[0.8, 0.15, 0.05]))):
            mask |= _add_polyp(rng, view, scene, frame, difficulty)
        # Annotators mark what they see, so a hidden part of a polyp is no foreground.
        mask &= ~_add_hiding_fold(rng, view, scene, bare_colour, mask & frame)
        _add_mucus(rng, view, scene)
    image = _render_photo(rng, view, scene)
    image[~frame] = rng.integers(0, 6, (int((~frame).sum()), 1))
    return image, (mask & frame).astype(np.uint8)


def _view(rng: Generator, size: int) -> _PixelGrid:
    width = round(size * float(rng.choice(_ASPECTS)))
    y, x = np.mgrid[:size, :width].astype(np.float32)
    return _PixelGrid((x - (width - 1) / 2) / size, (y - (size - 1) / 2) / size)


def _frame(rng: Generator, view: _PixelGrid) -> NDArray[np.bool_]:
    """Visible region of the endoscope: an octagon, sometimes with one corner cut off."""
    half = float(view.x.max())
    cut = half + 0.5 - rng.uniform(0.08, 0.28)
    frame = (np.abs(view.x) + np.abs(view.y) < cut) & (np.abs(view.x) < half - 0.01)
    if rng.random() < 0.3:
        frame &= ~((view.x < -half * 0.45) & (view.y > 0.22))
    return np.asarray(frame, bool)


def _make_wall(rng: Generator, view: _PixelGrid) -> _SceneMaps:
    """Mucosa that runs down to a dark lumen, with ring folds around it and vessels in it."""
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.55)
    x, y = view.x - offset * np.cos(angle), view.y - offset * np.sin(angle)
    distance = np.hypot(x, y) + 0.035 * _smooth(rng, view, 0.25)
    height = 0.02 * _smooth(rng, view, 0.3)
    ring = rng.uniform(0.16, 0.26)
    while ring < 1.0:
        strength = rng.uniform(0.012, 0.045) * np.clip(0.6 + 0.7 * _smooth(rng, view, 0.5), 0, 1.5)
        height += strength * np.exp(-(((distance - ring) / rng.uniform(0.022, 0.05)) ** 2))
        ring += rng.uniform(0.13, 0.28)
    for _ in range(int(rng.integers(0, 3))):  # swellings that are no polyps: long, low, uncoloured
        rho = _blob(rng, view, _random_centre(rng, view), rng.uniform(0.05, 0.1), stretch=3.5)
        height += 0.025 * np.exp(-2 * rho**2)
    lamp = rng.normal(0, 0.09)  # from pink to orange: less blue goes with more green
    colour = _MUCOSA * np.array([rng.normal(1, 0.04), 1 + lamp, 1 - 1.3 * lamp], np.float32)
    tone = 1 + 0.05 * _smooth(rng, view, 0.2) + 0.035 * _smooth(rng, view, 0.03)
    painted = colour * tone[..., None]
    painted = painted * (1 - _vessels(rng, view)[..., None] * (1 - _VESSEL))
    depth = np.exp(-((np.clip(distance, 0, None) / rng.uniform(0.12, 0.3)) ** 2))
    return _SceneMaps(_plane(height), _plane(painted), _plane(depth))


def _vessels(rng: Generator, view: _PixelGrid) -> Plane:
    """Thin winding lines, 0..1: the zero crossings of smooth noise wander and branch."""
    strength = rng.uniform(0.1, 0.9)
    net = np.abs(_smooth(rng, view, 0.11)) / 0.05
    thin = np.exp(-(net**2)) * np.clip(0.5 + _smooth(rng, view, 0.2), 0, 1)
    return _plane(strength * thin)


def _add_polyp(
    rng: Generator, view: _PixelGrid, scene: _SceneMaps, frame: NDArray[np.bool_], difficulty: float
) -> NDArray[np.bool_]:
    """Raise and colour one polyp; its pixels. The hard ones are flat and hardly coloured."""
    hard, clear = rng.random() < difficulty, difficulty == 0
    low, high = (1.2, 1.5) if clear else (0.12, 0.3) if hard else (0.35, 1.0)
    contrast = rng.uniform(low, high)
    steepness = rng.uniform(0.3, 0.5) if hard else rng.uniform(0.5, 1.0)
    radius = float(np.exp(rng.uniform(np.log(0.17 if clear else 0.06), np.log(0.36))))
    for _ in range(20):
        centre = _random_centre(rng, view)
        spot = np.argmin(np.hypot(view.x - centre[0], view.y - centre[1]))
        if frame.flat[spot] and scene.depth.flat[spot] < 0.5:
            break
    rho = _blob(rng, view, centre, radius, stretch=float(rng.uniform(1.0, 1.6)))
    dome = np.clip(1 - rho**2, 0, 1) ** 0.6
    lumps = 1 + 0.12 * _smooth(rng, view, 0.35 * radius)
    scene.height += _plane(steepness * radius * dome * lumps)
    tint = 1 + contrast * (rng.choice(_POLYP_TINTS[:2] if clear else _POLYP_TINTS) - 1)
    tint = tint * (1 + 0.07 * contrast * _smooth(rng, view, 0.016)[..., None])
    inside = np.clip((1 - rho) / 0.12, 0, 1)[..., None]
    scene.colour *= _plane(1 + inside * (tint - 1))
    return np.asarray(rho < 1, bool)


def _add_hiding_fold(
    rng: Generator, view: _PixelGrid, scene: _SceneMaps, bare: Plane, mask: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """In a third of the images, a fold in front of part of what `mask` marks; its pixels."""
    if rng.random() > 0.35 or not mask.any():
        return np.zeros(view.shape, bool)
    angle = rng.uniform(0, 2 * np.pi)
    along = view.x * np.cos(angle) + view.y * np.sin(angle) + 0.02 * _smooth(rng, view, 0.25)
    edge = np.quantile(along[mask], 1 - rng.uniform(0.15, 0.45))
    beyond = along - edge
    hides = beyond > 0
    scene.colour[hides] = bare[hides]
    top = scene.height.max() + 0.02
    rounded = top * np.sqrt(np.clip(1 - (beyond / 0.1 - 1) ** 2, 0, 1)) * np.exp(-beyond * 4)
    scene.height[hides] = 0.25 * scene.height[hides] + _plane(rounded)[hides] * 0.6
    shadow = np.where(hides, 0, np.exp(beyond / 0.025))
    scene.colour *= _plane(1 - 0.45 * shadow)[..., None]
    return np.asarray(hides, bool)


def _add_mucus(rng: Generator, view: _PixelGrid, scene: _SceneMaps) -> None:
    """Yellow patches and bubbles: they catch the eye of a network that trusts colour."""
    if rng.random() < 0.4:
        cover = np.clip(4 * (_smooth(rng, view, 0.12) - rng.uniform(1.5, 2.3)), 0, 0.6)[..., None]
        scene.colour[:] = _plane(scene.colour * (1 - cover) + _MUCUS * cover)
        scene.height += _plane(0.01 * cover[..., 0])


def _render_photo(rng: Generator, view: _PixelGrid, scene: _SceneMaps) -> Array8:
    """Light the scene from a lamp next to the lens; add highlights, darkness, blur and noise."""
    size = min(view.shape)
    rough = scene.height + _plane(0.0012 * _smooth(rng, view, 0.025))
    dy, dx = (_plane(d) for d in np.gradient(cv2.GaussianBlur(rough, (0, 0), size / 160) * size))
    lamp_x, lamp_y = rng.uniform(-0.45, 0.45, 2)
    facing = (1 - lamp_x * dx - lamp_y * dy) / np.sqrt((1 + dx**2 + dy**2) * 1.2)
    falloff = 1.12 - rng.uniform(0.5, 1.1) * (view.x**2 + view.y**2) * 1.3
    falloff = falloff * (1 - rng.uniform(0.75, 0.97) * scene.depth)
    bright = (0.22 + 0.85 * np.clip(facing, 0, 1.2)) * falloff * rng.uniform(0.95, 1.2)
    bright = bright * (0.92 + 1.1 * np.clip(scene.height, 0, 0.3))  # what is near is lit more
    off_x, off_y = dx + lamp_x / 2, dy + lamp_y / 2  # 0 where the surface mirrors the lamp
    wet = np.clip(_smooth(rng, view, 0.1) - rng.uniform(0.0, 0.8), 0, 1)
    gloss = rng.uniform(1.0, 2.5) * np.exp(-(off_x**2 + off_y**2) / 0.006) * wet * falloff
    lit = scene.colour * bright[..., None] + gloss[..., None]
    lit = cv2.GaussianBlur(_plane(lit), (0, 0), rng.uniform(0.3, 0.9) * size / 160)
    # After the blur: sensor noise is not blurred by the lens.
    lit = lit + rng.normal(0, rng.uniform(0.004, 0.016), lit.shape)
    return np.asarray(np.rint(255 * np.clip(lit, 0, 1)), np.uint8)


def _blob(
    rng: Generator, view: _PixelGrid, centre: tuple[float, float], radius: float, *, stretch: float
) -> Plane:
    """Distance from the centre, 1 on the wavy outline of a turned, stretched blob."""
    turn = rng.uniform(0, np.pi)
    x, y = view.x - centre[0], view.y - centre[1]
    u = (x * np.cos(turn) + y * np.sin(turn)) / stretch**0.5
    v = (y * np.cos(turn) - x * np.sin(turn)) * stretch**0.5
    theta = np.arctan2(v, u)
    outline = np.ones_like(theta)
    for k in range(2, 6):
        outline += rng.normal(0, 0.12 / k) * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    return _plane(np.hypot(u, v) / (radius * np.clip(outline, 0.5, 1.5)))


def _random_centre(rng: Generator, view: _PixelGrid) -> tuple[float, float]:
    half = float(view.x.max())
    return float(rng.uniform(-0.8, 0.8) * half), float(rng.uniform(-0.4, 0.4))


def _smooth(rng: Generator, view: _PixelGrid, cell: float) -> Plane:
    """Noise of mean 0 and deviation near 1 whose bumps are about `cell` shorter sides wide."""
    height, width = view.shape
    step = max(1.0, cell * min(height, width))
    grid = (int(np.ceil(height / step)) + 3, int(np.ceil(width / step)) + 3)
    coarse = rng.standard_normal(grid, np.float32)
    fine = cv2.resize(coarse, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    skip = int(step)
    return _plane(fine[skip : skip + height, skip : skip + width]) * np.float32(1.3)


def _plane(values: NDArray[Any]) -> Plane:
    return np.asarray(values, np.float32)


def _write_image(path: Path, image: Array8, options: list[int]) -> None:
    success, encoded = cv2.imencode(path.suffix, image, options)
    if not success:
        raise DataError(f"{path}: could not be encoded")
    path.write_bytes(encoded.tobytes())
