import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor

Put = Callable[..., Path]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """An empty Hugging Face cache, and a function that puts a repository into it."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))

    def put(
        repo: str, weights: dict[str, Tensor], *, revision: str | None = None, **config: object
    ) -> Path:
        commit = revision or "0123456789abcdef0123456789abcdef01234567"
        place = folder / f"models--{repo.replace('/', '--')}"
        snapshot = place / "snapshots" / commit
        snapshot.mkdir(parents=True)
        if revision is None:
            (place / "refs").mkdir()
            (place / "refs" / "main").write_text(commit)
        (snapshot / "config.json").write_text(json.dumps(config))
        save_file(weights, snapshot / "model.safetensors")
        return snapshot

    return put


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every attempt to connect fails and is written down."""
    attempts: list[object] = []

    def refuse(_: socket.socket, address: object) -> None:
        attempts.append(address)
        raise OSError("the network is off")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **_: refuse(None, a))  # type: ignore[arg-type]
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return attempts
