"""Kept probabilities of a large image, reduced in bands."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from harness.training.metrics.native_validation import PooledPlanes


@pytest.mark.parametrize(("height", "width", "size"), [(64, 48, 16), (101, 77, 16), (9, 50, 16)])
def test_bands_have_the_means_of_torch(height: int, width: int, size: int) -> None:
    """Also where neighbouring means share a row, and where there are fewer rows than means."""
    torch.manual_seed(0)
    p = torch.rand(1, 2, height, width)
    pooled = PooledPlanes(height, size)
    for top, bottom in ((0, 3), (3, 4), (4, 8), (8, height)):
        pooled.add(top, p[:, :, top:bottom])
    expected = F.adaptive_avg_pool2d(p, size)[0]
    torch.testing.assert_close(pooled.means(), expected, rtol=0, atol=1e-6)
