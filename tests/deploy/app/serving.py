"""An app on a free port, with networks whose probabilities are the channels of the image."""

import http.client
import json
import re
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.core.errors import UserError
from harness.data.files.decide import decide_mask
from harness.deploy.app.access import AccessPolicy
from harness.deploy.app.serve import bind_socket, build_server
from harness.deploy.app.served_model import ModelChoice, ModelFacts, SampleImage, StoredImage
from harness.deploy.app.uploads import read_upload
from harness.deploy.prediction import Prediction

BINARY = StudyDataConfig(classes=("background", "polyp"))
MULTICLASS = StudyDataConfig(task="multiclass", classes=("background", "cell", "nucleus"))
MULTILABEL = StudyDataConfig(task="multilabel", classes=("vessel", "lesion"))
THRESHOLDS = {"a": 0.42, "b": 0.6}  # of the two models


def rule_of(data: StudyDataConfig, key: str, **clean: Any) -> DecisionRule:
    """Thresholds of THRESHOLDS, and a clean-up of every class."""
    threshold = None if data.task == "multiclass" else THRESHOLDS[key]
    entry = ClassDecision(threshold=threshold, **clean)
    return DecisionRule(task=data.task, classes=(entry,) * len(data.scored_classes))


class ChannelModel:
    """Probability of plane k is channel k divided by 255; of classes it is normalised."""

    def __init__(self, key: str, data: StudyDataConfig, rule: DecisionRule) -> None:
        self.data = data
        self.facts = ModelFacts(key, f"model {key}", f"model {key}, leading", data, rule)

    def read(self, data: bytes) -> StoredImage:
        return read_upload(data, self.data.channels, self.data.range, n_planes=self.data.n_outputs)

    def predict(self, image: StoredImage) -> Prediction:
        p = channel_probabilities(image, self.data)
        return Prediction(decide_mask(p, self.facts.rule), p)


def channel_probabilities(image: NDArray[Any], data: StudyDataConfig) -> NDArray[np.float32]:
    planes = np.moveaxis(image[..., : data.n_outputs], 2, 0).astype(np.float32)
    if data.task == "multiclass":
        return (planes + 1) / (planes + 1).sum(axis=0)
    return planes / np.float32(255)


@dataclass
class ChannelModels:
    """A collection of two such models; `before` is called before each prediction."""

    data: StudyDataConfig = BINARY
    clean: Mapping[str, Any] = field(default_factory=dict)
    samples: Sequence[SampleImage] = ()
    compared: str | None = None
    title: str = "polyps"
    before: Callable[[], None] = lambda: None
    reason: str = "trial 3, leading but not confirmed"
    numbers: Sequence[tuple[str, str]] = (("validation", "val/dice 0.91: not confirmed"),)
    choices: Sequence[ModelChoice] = (ModelChoice("a", "model a"), ModelChoice("b", "model b"))

    def __post_init__(self) -> None:
        self.sample_names = [f"images/sample-{k}.png" for k in range(len(self.samples))]
        self.sample_note = f"{len(self.samples)} validation images."

    def load(self, key: str) -> ChannelModel:
        self.before()
        return ChannelModel(key, self.data, rule_of(self.data, key, **self.clean))

    def read_sample(self, index: int) -> SampleImage:
        return self.samples[index]


@dataclass(frozen=True)
class Answer:
    """Status, headers by small letters, and body of a response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The sentence of a refusal, of one line and without a traceback."""
        sentence: str = json.loads(self.body)["error"]
        assert sentence and "\n" not in sentence and "Traceback" not in sentence
        return sentence

    @property
    def frame(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON and arrays of `pack_frame`."""
        (length,) = struct.unpack_from("<I", self.body)
        meta = json.loads(self.body[4 : 4 + length])
        arrays = {}
        for name, entry in meta["arrays"].items():
            start = 4 + length + entry["offset"]
            data = self.body[start : start + entry["length"]]
            arrays[name] = np.frombuffer(data, entry["type"]).reshape(entry["shape"])
        return meta, arrays


@dataclass(frozen=True)
class RunningApp:
    """A server in a thread of this process."""

    port: int
    policy: AccessPolicy

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str | None] = {}
    ) -> Answer:
        """Send a request as the page does; a header of None is left out."""
        wanted = {
            "Host": f"127.0.0.1:{self.port}",
            "x-harness-token": self.policy.csrf_token if method == "POST" else None,
            **({"Content-Length": str(len(body))} if method == "POST" else {}),
            **headers,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in wanted.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders()
            connection.send(body)
            response = connection.getresponse()
            data = response.read()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, data)
        finally:
            connection.close()

    def settings(self) -> dict[str, Any]:
        """Values that the page gives to its script."""
        text = self.request("GET", "/").body.decode()
        match = re.search(r'data-settings="([^"]*)"', text)
        assert match is not None
        settings: dict[str, Any] = json.loads(unescape(match[1]))
        return settings


@contextmanager
def running_app(models: Any, policy: AccessPolicy | None = None) -> Iterator[RunningApp]:
    policy = policy or AccessPolicy("127.0.0.1")
    bound = bind_socket("127.0.0.1", 0)
    server = build_server(models, policy)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        until = time.monotonic() + 10
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        yield RunningApp(bound.getsockname()[1], policy)
    finally:
        server.should_exit = True
        thread.join(15)
        bound.close()
    assert not thread.is_alive()


def refuse() -> None:
    """As a model whose weights are gone."""
    raise UserError("its weights were deleted")
