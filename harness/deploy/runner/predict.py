"""Segment images with the network in this folder: python predict.py FILE_OR_FOLDER --out DIR."""

import argparse
import hashlib
import json
import runpy
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np

# By path, so that both files work wherever they are copied to, imported or run.
images = runpy.run_path(str(Path(__file__).with_name("image_files.py")))
read_image = images["read_image"]
FLIPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))  # steps along height and width


def open_session(path: Path, kind: str) -> Any:
    """Function from the inputs of the graph, by name, to its outputs; imports what `kind` needs."""
    if kind == "torch":
        torch: Any = import_module("torch")
        module = torch.export.load(path).module()
        return lambda feed: [module(*map(torch.from_numpy, feed.values()))[0].detach().numpy()]
    if kind == "openvino":
        openvino: Any = import_module("openvino")
        return openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    onnxruntime: Any = import_module("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(["logits"], feed)


class Model:
    """Network of a bundle; `spec` is its model.json. ValueError if either cannot be used."""

    def __init__(self, folder: str | Path, model_file: str | Path | None = None) -> None:
        try:
            self.spec = json.loads((Path(folder) / "model.json").read_text(encoding="utf-8"))
            if self.spec["format"] != 1:
                raise ValueError(f"format {self.spec['format']}, but this program reads 1")
            self.task, model = self.spec["task"], self.spec["model"]
            self.size = int(self.spec["input"]["height"]), int(self.spec["input"]["width"])
            self.rules = [dict(rule) for rule in self.spec["decision"]["classes"]]
            hashes = {k: v for k, v in self.spec["files"].items() if k.startswith("model.")}
            if model["file"] not in hashes or any(Path(k).name != k for k in hashes):
                raise ValueError("it lists no model file")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"model.json cannot be used ({error!r}); export again") from None
        for name, digest in {} if model_file else hashes.items():
            path = Path(folder) / name
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise ValueError(f"{name} is missing or damaged; copy the bundle again")
        self.run = open_session(Path(folder) / (model_file or model["file"]), model["format"])

    def probabilities(self, image: Any, tta: bool = False) -> Any:
        """Probabilities (K, H, W) of an image (H, W, C), float32, at the size of the image."""
        p = [self._predict_once(image[::y, ::x])[:, ::y, ::x] for y, x in FLIPS[: 4 if tta else 1]]
        return np.mean(p, axis=0, dtype=np.float64).astype(np.float32)

    def _predict_once(self, image: Any) -> Any:
        x = images["image_logits"](image, self.spec["input"], self._logits)
        if not np.isfinite(x).all():
            raise ValueError("the network's outputs are not finite numbers")
        if self.task == "multiclass":
            powers = np.exp(x - x.max(axis=0))
            return powers / powers.sum(axis=0)
        return 1 / (1 + np.exp(-np.maximum(x, -88)))  # exp(89) is above the range of float32

    def _logits(self, fitted: Any, rows: int, columns: int) -> Any:
        feed = {"image": np.ascontiguousarray(fitted.transpose(2, 0, 1)[None])}
        if self.spec["input"]["per_image_content"]:
            feed["content"] = np.zeros((1, 1, *self.size), np.float32)
            feed["content"][..., :rows, :columns] = 1
        return np.array(self.run(feed)[0], np.float32)[0, :, :rows, :columns]

    def decide(self, p: Any, threshold: float | None = None) -> Any:
        """Mask (H, W) of class indices; (H, W, K) of 0 and 1 in multilabel tasks."""
        if self.task == "multiclass":
            labels, remaining = p.argmax(axis=0), p.copy()
            for k, rule in enumerate(self.rules):
                removed = (labels == k) & ~clean(labels == k, {**rule, "fill_holes": False})
                remaining[k][removed] = -1  # such a pixel gets its next best class
            return remaining.argmax(axis=0).astype(np.uint8)
        planes = []
        for plane, rule in zip(p, self.rules, strict=True):
            chosen = rule["threshold"] if threshold is None else threshold
            planes.append(clean(plane >= np.float32(0.5 if chosen is None else chosen), rule))
        mask = np.stack(planes, axis=2).astype(np.uint8)
        return mask[..., 0] if self.task == "binary" else mask

    def predict(self, image: Any, tta: bool = False) -> tuple[Any, Any]:
        p = self.probabilities(image, tta)
        return self.decide(p), p


def clean(plane: Any, rule: dict[str, Any]) -> Any:
    """Fill holes, then remove small objects, then all but the largest; booleans (H, W)."""
    if rule["fill_holes"]:
        outside = np.pad(~plane, 1, constant_values=True).astype(np.uint8)
        labels: Any = cv2.connectedComponents(outside, connectivity=4)[1]
        plane = plane | (labels != labels[0, 0])[1:-1, 1:-1]
    labels, stats = cv2.connectedComponentsWithStats(plane.astype(np.uint8), connectivity=8)[1:3]
    areas = np.array(stats)[:, cv2.CC_STAT_AREA]
    areas[0] = 0  # the background
    selected = areas >= max(1, rule["min_size"])
    if rule["largest_only"]:
        selected &= np.arange(len(areas)) == areas.argmax()
    return selected[labels]


def main(argv: list[str] | None = None) -> int:
    """Write a PNG for each image: 0 and 255, or class indices, or one file for each label."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", type=Path, metavar="FILE_OR_FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--tta", action="store_true", help="average over four flips")
    parser.add_argument("--probabilities", action="store_true", help="write them, too, as .npy")
    options = parser.parse_args(argv)
    listed = [
        (path, path.relative_to(root) if root.is_dir() else Path(path.name))
        for root in options.images
        for path in images["list_files"](root)
        if not path.is_dir() and options.out.resolve() not in path.resolve().parents
    ]
    if not listed:
        parser.error("no images to read, apart from those in --out")
    try:
        model, masks, failed = Model(Path(__file__).parent), set(), False
    except Exception as error:  # runtimes raise classes of their own
        parser.exit(1, " ".join(str(error).split()) + "\n")
    for path, name in listed:
        try:
            if name.with_suffix("") in masks:
                raise ValueError("another image has this name; its mask would be replaced")
            mask, p = model.predict(read_image(path, model.spec), options.tta)
            images["write_mask"](options.out / name, mask, model.spec)
            if options.probabilities:
                np.save(options.out / name.with_suffix(".npy"), p)
            masks.add(name.with_suffix(""))
        except Exception as error:
            sys.stderr.write(f"{path}: {error}\n")
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
