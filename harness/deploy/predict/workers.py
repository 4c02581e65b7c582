"""Threads that read, predict and write images, each a batch at a time, in bounded memory."""

import errno
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from harness.core import files
from harness.core.errors import DataError
from harness.data.files.decode import ImageFile, load_image_file
from harness.data.files.geotiff import GeoTag, read_geo_tags
from harness.data.files.image_io import decode_image
from harness.data.files.large_image import LargeImage, open_large_image
from harness.data.files.source import FolderSource
from harness.data.windows.large_windows import LargeImageWindows
from harness.deploy.predict.inputs import InputFile
from harness.deploy.predict.large_images import predict_large, quantize, read_overview
from harness.deploy.predict.outputs import ResultWriter
from harness.deploy.predict.record import FileRecord
from harness.deploy.predict.rows import Row, measure_mask, measure_prediction
from harness.deploy.predictor import Predictor
from harness.training.loop.errors import DivergedError, TooLargeError
from harness.training.metrics.native_size import fixed_arithmetic

_MAX_WORKERS = 8  # each holds the activations of a batch
_GPU_WORKERS = 4  # one is in the network while the others read and write
_GPU_BATCH = 16
# fsync waits for the disk, 7 ms for a mask on a busy machine: other threads wait in its stead.
_DISK_THREADS = 4
_MAX_UNWRITTEN = 32
_CPU_BATCH = 8
_CPU_BATCH_PIXELS = 2**17  # of network inputs: larger batches are slower on one core
_WORKER_BYTES = 100_000_000  # images and probabilities in work on one thread
_LARGE_FILE_BYTES = 32_000_000


@dataclass(frozen=True)
class _LoadedImage:
    """A decoded image; `n_bytes` is an estimate of it with its probabilities."""

    file: InputFile
    image: NDArray[Any]
    n_bytes: int
    seconds: float  # to read and decode it
    geo_tags: tuple[GeoTag, ...]  # () unless it is a GeoTIFF


class PredictionWorkers:
    """Predicts files on several threads; `run` yields the records of finished files.

    On a CPU every thread runs all steps of its images, the network included, on its share of the
    cores: threads that do not wait for each other lose less than one network on all cores. On a
    GPU one batch at a time is in the network while other threads read and write.
    """

    def __init__(
        self, predictor: Predictor, writer: ResultWriter, inputs: Sequence[InputFile]
    ) -> None:
        self._predictor, self._writer, self._inputs = predictor, writer, inputs
        self._data = predictor.deployment.context.config.data
        self._max_pixels = predictor.deployment.context.config.limits.max_pixels
        cores, is_cpu = torch.get_num_threads(), predictor.device.type == "cpu"
        self._n_workers = max(1, min(cores if is_cpu else _GPU_WORKERS, _MAX_WORKERS, len(inputs)))
        self._torch_threads = max(1, cores // self._n_workers) if is_cpu else cores
        per_worker = -(-len(inputs) // self._n_workers)
        pixel_limit = max(1, _CPU_BATCH_PIXELS // predictor.input_pixels)
        largest = min(_CPU_BATCH, pixel_limit) if is_cpu else _GPU_BATCH
        self._batch_size = max(1, min(largest, per_worker))
        self._in_network: AbstractContextManager[Any] = (
            nullcontext() if is_cpu else threading.Lock()
        )
        self._alone = threading.RLock()
        self._stop = threading.Event()
        self._unwritten = threading.BoundedSemaphore(_MAX_UNWRITTEN)
        self._disk_pool = ThreadPoolExecutor(_DISK_THREADS)
        self._results: SimpleQueue[FileRecord | BaseException] = SimpleQueue()

    def run(self) -> Generator[list[FileRecord]]:
        """Yield the records of one or more finished files, in no fixed order.

        Raises:
            OSError: a result cannot be written.
        """
        step, n_done = self._batch_size, 0
        pool = ThreadPoolExecutor(self._n_workers)
        with _shared_cores(self._torch_threads):
            try:
                for k in range(0, len(self._inputs), step):
                    pool.submit(self._run_batch, self._inputs[k : k + step])
                while n_done < len(self._inputs):
                    first = self._results.get()
                    if isinstance(first, BaseException):
                        raise first
                    records = [first, *self.take_finished()]
                    n_done += len(records)
                    yield records
            finally:
                # After an interrupt, too: batches in work are finished, no other one begins.
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                self._disk_pool.shutdown()

    def take_finished(self) -> list[FileRecord]:
        """Records that wait to be taken; after an interrupt, those that `run` did not yield."""
        records = []
        try:
            while isinstance(result := self._results.get_nowait(), FileRecord):
                records.append(result)
            self._results.put(result)
        except Empty:
            pass
        return records

    def _run_batch(self, inputs: Sequence[InputFile]) -> None:
        try:
            torch.set_num_threads(self._torch_threads)  # holds for the calling thread
            self._predict_files(inputs)
        except BaseException as error:  # raised again where the records are taken
            self._results.put(error)

    def _predict_files(self, inputs: Sequence[InputFile]) -> None:
        batch: list[_LoadedImage] = []
        for file in inputs:
            if self._stop.is_set():
                break
            # Large images one at a time: memory is bounded by a single one, whatever the others do.
            with self._alone if file.size > _LARGE_FILE_BYTES else nullcontext():
                self._add(file, batch)
        self._predict(batch)

    def _add(self, file: InputFile, batch: list[_LoadedImage]) -> None:
        """Read a file into the batch; predict the batch first if both are too large together."""
        try:
            begin = time.perf_counter()
            if self._predictor.reads_windows and file.problem is None:
                with self._open_large(file) as large:
                    if large is not None:
                        with self._alone:
                            self._predict_large(file, large, begin)
                        return
            source = self._open(file)
            n_bytes = self._estimate_bytes(source)
            if n_bytes > _WORKER_BYTES:
                with self._alone:
                    self._predict([self._decode(file, source, n_bytes, begin)])
                return
            if batch and n_bytes + sum(loaded.n_bytes for loaded in batch) > _WORKER_BYTES:
                self._predict(batch)
                batch.clear()
            batch.append(self._decode(file, source, n_bytes, begin))
        except DataError as error:
            self._fail(file, str(error).removeprefix(f"{file.path.absolute()}: "))

    def _open(self, file: InputFile) -> ImageFile:
        if file.problem is not None:
            raise DataError(file.problem)
        local = file.path.absolute()
        return load_image_file(FolderSource(Path(local.anchor)), local, self._max_pixels)

    def _open_large(self, file: InputFile) -> AbstractContextManager[LargeImage | None]:
        local = file.path.absolute()
        return open_large_image(FolderSource(Path(local.anchor)), local, self._max_pixels)

    def _predict_large(self, file: InputFile, large: LargeImage, begin: float) -> None:
        """Predict an image of which windows are read; its results are in memory."""
        source = LargeImageWindows(large, self._data)
        try:
            with self._in_network:
                result = predict_large(
                    self._predictor, source, keep_probabilities=self._writer.probabilities
                )
        except (DivergedError, TooLargeError, MemoryError) as error:
            self._fail(file, str(error) or "not enough memory for an image so large")
            return
        image = read_overview(source) if self._writer.overlays else np.zeros((0, 0, 3), np.uint8)
        large.check_unchanged()
        values = measure_mask(result.mask, result.mean_confidence, self._data)
        loaded = _LoadedImage(file, image, 8 * result.mask.size, 0.0, large.geo_tags())
        planes = () if result.planes is None else result.planes
        self._finish(loaded, result.mask, planes, values, begin)

    def _decode(
        self, file: InputFile, source: ImageFile, n_bytes: int, begin: float
    ) -> _LoadedImage:
        image = decode_image(source, self._data.channels, self._data.range)
        geo_tags = read_geo_tags(source.data) if source.header.kind == "TIFF" else ()
        return _LoadedImage(file, image, n_bytes, time.perf_counter() - begin, geo_tags)

    def _estimate_bytes(self, source: ImageFile) -> int:
        """Bytes of an image from its file to its results."""
        planes = 3 if self._predictor.n_passes == 1 else 7  # fp32 planes that exist at one moment
        image_bytes = 2 * self._data.channels * self._data.bit_depth // 8
        per_pixel = image_bytes + 4 * planes * self._data.n_outputs + 12
        return len(source.data) + source.header.height * source.header.width * per_pixel

    def _predict(self, batch: Sequence[_LoadedImage]) -> None:
        if not batch:
            return
        begin = time.perf_counter()
        try:
            with self._in_network:
                planes = self._predictor.probabilities([loaded.image for loaded in batch])
        except (DivergedError, TooLargeError, MemoryError) as error:
            if len(batch) > 1:  # one image must not cost the others their results
                for loaded in batch:
                    self._predict([loaded])
            else:
                self._fail(batch[0].file, str(error) or "not enough memory for an image so large")
            return
        seconds = (time.perf_counter() - begin) / len(batch)
        for loaded, p in zip(batch, planes, strict=True):
            begin = time.perf_counter() - loaded.seconds - seconds
            prediction = self._predictor.decide(p)
            values = measure_prediction(prediction, self._data)
            self._finish(loaded, prediction.mask, map(quantize, p), values, begin)

    def _finish(
        self,
        loaded: _LoadedImage,
        mask: NDArray[np.uint8],
        planes: Iterable[NDArray[np.uint16]],
        values: Row,
        begin: float,
    ) -> None:
        """Encode the results of an image, and pass its files on to be written.

        Args:
            begin: time at which its work would have begun without the other images.
        """
        results = self._writer.encode(loaded.file.stem, loaded.image, mask, planes, loaded.geo_tags)
        values = {**values, "seconds": round(time.perf_counter() - begin, 4)}
        record = self._record(loaded.file, values=values, geo=bool(loaded.geo_tags))
        self._unwritten.acquire()
        if loaded.n_bytes > _WORKER_BYTES:  # its results are too large to wait beside others
            self._write(loaded.file, record, results)
        else:
            self._disk_pool.submit(self._write, loaded.file, record, results)

    def _write(
        self, file: InputFile, record: FileRecord, results: Sequence[tuple[Path, bytes]]
    ) -> None:
        try:
            for path, data in results:
                files.write_bytes(path, data)
            self._results.put(record)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                self._fail(file, "its name is too long to be written; rename it")
            else:
                self._results.put(error)
        except BaseException as error:  # raised again where the records are taken
            self._results.put(error)
        finally:
            self._unwritten.release()

    def _fail(self, file: InputFile, reason: str) -> None:
        self._results.put(self._record(file, error=reason))

    def _record(self, file: InputFile, **outcome: Any) -> FileRecord:
        return FileRecord(
            file=file.name,
            source=str(file.path.absolute()),
            size=file.size,
            mtime_ns=file.mtime_ns,
            probabilities=self._writer.probabilities,
            overlays=self._writer.overlays,
            **outcome,
        )


@contextmanager
def _shared_cores(torch_threads: int) -> Iterator[None]:
    """Limit torch and OpenCV to these threads in each calling thread, and restore both."""
    earlier = torch.get_num_threads(), cv2.getNumThreads()
    # The flags of the arithmetic hold for the process. They are set here once, as threads that set
    # and restore them at different times would leave a wrong value.
    with fixed_arithmetic():
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(torch_threads)
        try:
            yield
        finally:
            torch.set_num_threads(earlier[0])
            cv2.setNumThreads(earlier[1])
