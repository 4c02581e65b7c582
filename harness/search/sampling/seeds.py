"""Seeds that follow from several numbers."""

import numpy as np


def derive_seed(*parts: int) -> int:
    """32-bit seed derived from several numbers, the same on every machine (NumPy SeedSequence)."""
    # SeedSequence mixes its inputs, unlike a sum: (1, 2) and (2, 1) give unrelated seeds. Python's
    # hash() of a text would differ from process to process.
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
