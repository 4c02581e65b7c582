"""Number of simultaneous trials with the most images per second on the CPU, measured.

Two workers of one thread each often train more images together than one of two threads, since
nothing waits for the slowest thread of a sum; how many more depends on network, image size and
machine. So the first steps of one configuration are timed in 1, 2, 4, ... processes at once.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from harness.config.data import StudyDataConfig
from harness.config.study import TrialConfig
from harness.config.user_code import read_parts_file, register_packages, register_parts_file
from harness.core.text import count
from harness.execution.prestart import start_worker_process
from harness.execution.slots import Slot, plan_slots
from harness.training.hardware.device import pick_precision
from harness.training.hardware.normalizer import build_normalizer
from harness.training.loop.network_setup import build_trained_network
from harness.training.loop.trainer import Trainer
from harness.training.worker.worker_channel import redirect_stdout_to_log

MODULE = "harness.training.loop.step_rate"
WINDOW_S = 3.0  # of each measurement; at least two steps
MIN_GAIN = 1.05  # more workers must be this much faster: rates differ by some percent each time
MEMORY_SHARE = 0.7  # of the free memory that all workers may take together
_WARM_UP_STEPS = 2

Rate = Callable[[Sequence[Slot]], "tuple[float, int]"]


def choose_worker_count(threads: int, free_bytes: int, measure: Rate) -> tuple[int, list[str]]:
    """Choose among 1, 2, 4, ... workers that share `threads`.

    Doubling stops where it gains less than `MIN_GAIN`, where the memory would not suffice, or where
    a worker would have no thread of its own.

    Args:
        free_bytes: memory that is free now.
        measure: images per second of all workers in these slots together, and the largest memory of
            one of them in bytes.

    Returns:
        The number, and a line for each measurement.
    """
    chosen, best_rate, lines = 1, 0.0, []
    n_workers = 1
    while n_workers <= threads:
        slots = plan_slots(device="cpu", workers=n_workers, threads=threads)
        rate, peak_bytes = measure(slots)
        lines.append(f"{count(n_workers, 'worker')} {rate:.3g} images/s")
        if rate < MIN_GAIN * best_rate:
            break
        chosen, best_rate = n_workers, rate
        n_workers *= 2
        if n_workers * peak_bytes > MEMORY_SHARE * free_bytes:
            if n_workers <= threads:
                lines.append(f"no memory for {n_workers}")
            break
    return chosen, lines


def measure_worker_count(
    config: TrialConfig, data: StudyDataConfig, parts: Path | None, threads: int
) -> tuple[int, str]:
    """Measure `choose_worker_count` with one configuration; takes some 10 s for each number.

    Args:
        config: configuration whose training steps are timed, on random images.
        parts: file of user-defined components.

    Returns:
        The number of workers and a sentence with the rates. 1 if the steps could not be timed, e.g.
        because the network does not fit into memory.
    """
    request = {
        "config": config.model_dump(mode="json"),
        "data": data.model_dump(mode="json"),
        "parts": None if parts is None else str(parts),
    }
    free_bytes = psutil.virtual_memory().available
    try:
        chosen, lines = choose_worker_count(
            threads, free_bytes, lambda slots: _measure_slots(slots, request)
        )
    except _ProbeError as error:
        return 1, f"--workers auto: 1, since no step could be timed ({error})"
    return chosen, f"--workers auto: {chosen} ({', '.join(lines)})"


class _ProbeError(Exception):
    """A process ended before it had timed its steps."""


def _measure_slots(slots: Sequence[Slot], request: dict[str, Any]) -> tuple[float, int]:
    """Images per second of all slots together, and the largest memory of a process in bytes."""
    processes = [start_worker_process(MODULE, s.environment, subprocess.DEVNULL) for s in slots]
    try:
        for process in processes:
            _tell(process, request)
        for process in processes:
            _answer(process)  # ready: imported, built and warmed up
        for process in processes:
            _tell(process, WINDOW_S)
        answers = [_answer(process) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return sum(a["images_per_s"] for a in answers), max(a["peak_bytes"] for a in answers)


def _tell(process: "subprocess.Popen[bytes]", message: Any) -> None:
    assert process.stdin is not None, "opened as a pipe"
    with contextlib.suppress(BrokenPipeError):  # _answer then reports that the process has ended
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()


def _answer(process: "subprocess.Popen[bytes]") -> Any:
    assert process.stdout is not None, "opened as a pipe"
    line = process.stdout.readline()
    if not line:
        raise _ProbeError(f"the process ended with code {process.wait()}")
    answer = json.loads(line)
    if "error" in answer:
        raise _ProbeError(answer["error"])
    return answer


def main() -> None:
    """Answer one request: warm up, wait for the time of the window, time the steps."""
    events = redirect_stdout_to_log()

    def send(**answer: Any) -> None:
        events.write(json.dumps(answer).encode() + b"\n")
        events.flush()

    try:
        request = json.loads(sys.stdin.readline())
        register_packages()
        if request["parts"] is not None:
            register_parts_file(read_parts_file(Path(request["parts"])))
        config = TrialConfig.model_validate(request["config"])
        steps = training_steps(config, StudyDataConfig.model_validate(request["data"]))
        for _ in range(_WARM_UP_STEPS):
            next(steps)
        send(ready=True)
        window_s = float(json.loads(sys.stdin.readline()))
        n_steps, started = 0, time.perf_counter()
        while n_steps < 2 or time.perf_counter() - started < window_s:
            next(steps)
            n_steps += 1
        rate = n_steps * config.train.batch_size / (time.perf_counter() - started)
        send(images_per_s=rate, peak_bytes=psutil.Process().memory_info().rss)
    except Exception as error:  # any fault of a network ends the measurement, not the study
        send(error=f"{type(error).__name__}: {error}")


def training_steps(config: TrialConfig, data: StudyDataConfig) -> Iterator[Any]:
    """Train on one random batch for ever, a step at a time, on the CPU.

    Args:
        config: encoder weights are not loaded, as they do not change the time of a step.
    """
    device = torch.device("cpu")
    size = config.data.height_width
    precision = pick_precision(config.train.precision, device)
    network = build_trained_network(config, data, device, precision, pretrained=False)
    batches = _RepeatedBatch(config.train.batch_size, size, data)
    config = _with_plain_weights(config)
    trainer = Trainer(
        network,
        config,
        batches,
        build_normalizer(config, data),
        data=data,
        seed=0,
        device=device,
        precision=precision,
    )
    epoch = 0
    while True:
        epoch = epoch % config.train.epochs + 1
        yield from trainer.train_steps(epoch)


def _with_plain_weights(config: TrialConfig) -> TrialConfig:
    """The configuration without class weights, which need the masks of the data set."""
    if config.loss.class_weights != "balanced":
        return config
    loss = config.loss.model_copy(update={"class_weights": None})
    return config.model_copy(update={"loss": loss})


class _RepeatedBatch:
    """`EpochBatches` that repeat one batch of random images and masks."""

    def __init__(self, n: int, size: tuple[int, int], data: StudyDataConfig) -> None:
        rng = np.random.default_rng(0)
        self.n_images = self.n_draws = n
        self._images = rng.integers(0, 256, (n, *size, data.channels), np.uint8)
        planes = (data.n_outputs,) if data.task == "multilabel" else ()
        n_values = len(data.classes) if data.task == "multiclass" else 2
        self._masks = rng.integers(0, n_values, (n, *size, *planes), np.uint8)

    def __len__(self) -> int:
        return 1

    def epoch_with_contents(self, n: int, first: int = 0) -> Iterator[Any]:
        """Yield the batch, as content without padding."""
        yield self._images, self._masks, None


if __name__ == "__main__":
    main()
