import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from segmentation_models_pytorch.encoders import encoders as native_encoders

from harness.config.study import ModelConfig
from harness.core.errors import ConfigError, WeightsError
from harness.models.weights import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    cached_weights,
    ensure_weights,
    input_statistics,
)

Put = Callable[..., Path]


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where nobody has forbidden the hub; the tests themselves see to it that none is asked."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def put_native(hub: Put, encoder: str, **config: object) -> None:
    source = native_encoders[encoder]["pretrained_settings"]["imagenet"]
    hub(source["repo_id"], {"x": torch.zeros(1)}, revision=source["revision"], **config)


def test_nothing_is_asked_for_when_everything_is_cached(hub: Put, no_network: list[object]) -> None:
    put_native(hub, "mobilenet_v2")
    hub("timm/resnet18.a1_in1k", {"x": torch.zeros(1)})
    wanted = [ModelConfig(encoder_name=name) for name in ("mobilenet_v2", "tu-resnet18")]
    ensure_weights([*wanted, ModelConfig(encoder_name="resnet34", encoder_weights=None)])
    assert no_network == []


def test_all_missing_encoders_are_named_after_a_single_attempt(
    hub: Put, no_network: list[object]
) -> None:
    put_native(hub, "mobilenet_v2")
    names = ["resnet34", "tu-resnet18", "resnet18", "mobilenet_v2", "resnet18"]
    with pytest.raises(WeightsError) as caught:
        ensure_weights([ModelConfig(encoder_name=name) for name in names])
    message = str(caught.value)
    assert "resnet18, resnet34, tu-resnet18: not in the local Hugging Face cache" in message
    assert "(the network is off)" in message and "mobilenet" not in message
    assert "--set model.encoder_weights=null" in message
    assert len(no_network) == 1


def test_offline_mode_attempts_no_connection(
    hub: Put, no_network: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"resnet34: .*HF_HUB_OFFLINE forbids"):
        ensure_weights([ModelConfig()])
    assert no_network == []


def test_unknown_encoder_is_a_configuration_error(hub: Put, no_network: list[object]) -> None:
    with pytest.raises(ConfigError, match=r"unknown encoder 'resnet35'; did you mean resnet34\?"):
        ensure_weights([ModelConfig(encoder_name="resnet35")])
    assert no_network == []


def test_weights_in_another_form_than_safetensors_are_not_loaded(
    hub: Put, no_network: list[object]
) -> None:
    with pytest.raises(
        WeightsError, match="tu-gcvit_tiny: not on the Hugging Face hub as safetens"
    ):
        ensure_weights([ModelConfig(encoder_name="tu-gcvit_tiny")])
    assert no_network == []


class _Hub(BaseHTTPRequestHandler):
    """Answers as the hub does: commit, etag and size in the headers of a file."""

    asked: list[str]
    content = b"weights"

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        self._head()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        pass

    def _head(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.send_response(200 if "/resolve/" in self.path or self.path == "/" else 404)
        self.send_header("Content-Length", str(len(self.content)))
        self.send_header("ETag", '"abc"')
        self.send_header("X-Repo-Commit", "1" * 40)
        self.end_headers()


@pytest.fixture
def server(hub: Put, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Hub]]:
    handler = type("Handler", (_Hub,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        address = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield handler
        running.shutdown()
        thread.join()


def test_missing_weights_are_fetched_into_the_cache_once(server: type[_Hub]) -> None:
    model = ModelConfig(encoder_name="tu-resnet18")
    ensure_weights([model, model])
    assert cached_weights("tu-resnet18").read_bytes() == b"weights"
    gets = [line for line in server.asked if line.startswith("GET")]
    assert gets == ["GET /timm/resnet18.a1_in1k/resolve/main/model.safetensors"]
    n_asked = len(server.asked)
    ensure_weights([model])
    assert len(server.asked) == n_asked


def test_a_file_that_the_hub_does_not_have_is_named(server: type[_Hub]) -> None:
    server.send_response = lambda self, code, *_: BaseHTTPRequestHandler.send_response(  # type: ignore[method-assign]
        self, 404 if "resolve" in self.path else code
    )
    with pytest.raises(WeightsError, match=r"no imagenet weights for tu-resnet18: .*404"):
        ensure_weights([ModelConfig(encoder_name="tu-resnet18")])


def test_statistics_of_native_weights_are_those_beside_them(hub: Put) -> None:
    put_native(hub, "mobilenet_v2", mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    model = ModelConfig(encoder_name="mobilenet_v2")
    assert input_statistics(model) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    random = ModelConfig(encoder_name="mobilenet_v2", encoder_weights=None)
    assert input_statistics(random) == (IMAGENET_MEAN, IMAGENET_STD)


def test_each_kind_of_weights_is_a_file_of_its_own(hub: Put, no_network: list[object]) -> None:
    sources = native_encoders["efficientnet-b0"]["pretrained_settings"]
    for weights, mean in (("imagenet", [0.4] * 3), ("advprop", [0.5] * 3)):
        source = sources[weights]
        content = {"x": torch.tensor([mean[0]])}
        hub(source["repo_id"], content, revision=source["revision"], mean=mean)
    models = [
        ModelConfig(encoder_name="efficientnet-b0", encoder_weights=weights)
        for weights in ("imagenet", "advprop")
    ]
    ensure_weights(models)
    assert [input_statistics(model)[0][0] for model in models] == [0.4, 0.5]
    names = [cached_weights("efficientnet-b0", str(model.encoder_weights)) for model in models]
    assert [float(load_file(name)["x"]) for name in names] == pytest.approx([0.4, 0.5])
    models += [ModelConfig(encoder_name="resnet18", encoder_weights="ssl"), ModelConfig()]
    with pytest.raises(WeightsError) as caught:
        ensure_weights(models)
    text = "no pretrained weights for resnet18 (ssl), resnet34 (imagenet): not in the local"
    assert str(caught.value).startswith(text)
    with pytest.raises(WeightsError, match=r"no ssl weights for resnet18: not in the local"):
        ensure_weights(models[2:3])


def test_statistics_of_timm_weights_are_known_without_them(
    hub: Put, no_network: list[object]
) -> None:
    """Google's vision transformers were trained on images scaled to -1..1."""
    model = ModelConfig(encoder_name="tu-vit_tiny_patch16_224")
    assert input_statistics(model) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert no_network == []


def test_statistics_fall_back_to_those_of_imagenet(hub: Put, no_network: list[object]) -> None:
    assert input_statistics(ModelConfig()) == (IMAGENET_MEAN, IMAGENET_STD)
    assert no_network == []
