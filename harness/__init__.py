"""Hyperparameter studies of segmentation networks: run them, rank them honestly, see them."""

import os

# Nothing phones home: these must stand before any dependency is imported, in every process.
for _variable, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}.items():
    os.environ.setdefault(_variable, _value)
