"""Limits of the app. A page is for a few images at a time; folders are for `harness predict`."""

from typing import Final

MAX_UPLOAD_BYTES: Final = 64 * 2**20
# Largest number of probabilities, classes x height x width, of one answer. Measured, one output:
# an image of 24 megapixels adds 0.6 GB to the 0.8 GB that the imports take.
MAX_VALUES: Final = 24_000_000
MAX_WAITING: Final = 4  # requests beside the one that the network is working on
MAX_LOADED: Final = 2  # models in memory: the two that are compared
READ_TIMEOUT_S: Final = 20.0  # longest pause within an upload; a longer one frees its place
MAX_BATCH_FILES: Final = 500
N_SAMPLES: Final = 12
