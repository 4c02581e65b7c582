"""Datasets that are known by name."""

from dataclasses import dataclass
from typing import Final

from harness.core.errors import DataError


@dataclass(frozen=True)
class DatasetArchive:
    """A published dataset: where it is, how large, what it may be used for, and its checksum.

    Attributes:
        citation: what its terms ask to be cited.
    """

    name: str
    url: str
    n_bytes: int
    sha256: str
    page: str
    terms: str
    citation: str


KVASIR: Final = DatasetArchive(
    name="kvasir-seg",
    url="https://datasets.simula.no/downloads/kvasir-seg.zip",
    n_bytes=46_200_000,  # as its page says; the checksum is what counts
    sha256="03b30e21d584e04facf49397a2576738fd626815771afbbf788f74a7153478f7",
    page="https://datasets.simula.no/kvasir-seg/",
    terms="research and education only; cite Jha et al., Kvasir-SEG, MMM 2020",
    citation="Jha et al. 2020. Kvasir-SEG: A Segmented Polyp Dataset. MMM. arXiv:1911.07069",
)
SYNTHETIC: Final = "synthetic"
KNOWN_DATASETS: Final = (KVASIR.name, SYNTHETIC)


class NeedsDownloadError(DataError):
    """A known dataset is not here yet; `archive` says what fetching it means."""

    def __init__(self, archive: DatasetArchive) -> None:
        self.archive = archive
        super().__init__(
            f"{archive.name}: not here yet. It can be downloaded from {archive.url} "
            f"({archive.n_bytes / 1e6:.1f} MB; {archive.terms}): "
            f"harness data download {archive.name}"
        )
