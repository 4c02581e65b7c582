"""Network libraries in a child process: the answers of this process, without torch here."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.config.study import ModelConfig
from harness.config.user_code import read_parts_file
from harness.core.errors import ConfigError, HarnessError, WeightsError
from harness.core.paths import StudyPaths, Workspace
from harness.search.definition.network_checks import LocalNetworks
from harness.search.definition.network_process import NetworkProcess
from tests.search.fakes import definition_of

N_TRAIN = 8
# FPN cannot be built at depth 2; DeepLabV3 refuses batches of one image.
SPACE = {
    "fixed": {"data.image_size": 64, "model.encoder_weights": None},
    "parameters": {
        "model.arch": {"choices": ["Unet", "FPN", "fcn"]},
        "model.encoder_depth": {"choices": [2, 3]},
        "train.batch_size": {"low": 1, "high": 64},
    },
}


@pytest.fixture(scope="module")
def networks() -> Iterator[NetworkProcess]:
    networks = NetworkProcess(None)
    yield networks
    networks.close()


def test_names_and_problems_are_those_of_this_process(networks: NetworkProcess) -> None:
    here = LocalNetworks()
    assert networks.names() == here.names()
    assert "Unet" in networks.names().archs
    for name in ("resnet18", "resnet19", "tu-resnet1000"):
        assert networks.encoder_problem(name) == here.encoder_problem(name)
    assert networks.encoder_problem("resnet18") is None
    for value in (0.5, 3, "much"):
        assert networks.option_problem("decoder_dropout", value) == here.option_problem(
            "decoder_dropout", value
        )
    assert networks.option_problem("decoder_dropout", 0.5) is None


def test_networks_and_refusals_are_those_of_this_process(networks: NetworkProcess) -> None:
    here, definition = LocalNetworks(), definition_of(SPACE)
    bars: list[tuple[int, int | None]] = []
    summary = networks.check_networks(definition, N_TRAIN, lambda *done: bars.append(done))
    assert summary == here.check_networks(definition, N_TRAIN)
    assert summary.n_impossible > 0 and summary.max_parameters > 1e6
    assert bars[0][0] == 0 and bars[-1][0] == bars[-1][1] > 1
    networks.close()
    drawn = [
        {"model.arch": arch, "model.encoder_depth": depth, "train.batch_size": size}
        for arch in ("Unet", "FPN", "fcn")
        for depth in (2, 3)
        for size in (1, 17)
    ]
    refusals = [networks.config_refusal(definition, N_TRAIN, values) for values in drawn]
    assert refusals == [here.config_refusal(definition, N_TRAIN, values) for values in drawn]
    assert None in refusals and any(refusals)
    assert networks._child is None, "answered from what it was told"


def test_a_network_outside_the_table_is_asked_for(networks: NetworkProcess) -> None:
    definition = definition_of(SPACE | {"fixed": {"data.image_size": 96}})
    values = {"model.arch": "FPN", "model.encoder_depth": 2, "train.batch_size": 4}
    refusal = networks.config_refusal(definition, N_TRAIN, values)
    assert refusal is not None and "FPN" in refusal
    assert refusal == LocalNetworks().config_refusal(definition, N_TRAIN, values)
    assert networks._child is not None
    wrong = values | {"model.encoder_depth": 70}
    invalid = networks.config_refusal(definition, N_TRAIN, wrong)
    assert invalid is not None and "model.encoder_depth" in invalid


def test_errors_keep_their_kind_and_their_lines(
    networks: NetworkProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"fixed": {"model.arch": "FPN", "model.encoder_depth": 2, "data.image_size": 64}}
    with pytest.raises(ConfigError, match="no network of this space can be trained") as caught:
        networks.check_networks(definition_of(space), N_TRAIN)
    assert len(caught.value.problems) == 2
    networks.close()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    no_weights = ModelConfig(encoder_weights=None)
    assert networks.weight_files(no_weights) is LocalNetworks().weight_files(no_weights) is None
    assert networks.weight_files(ModelConfig(arch="attention_unet")) is None
    with pytest.raises(WeightsError, match="vgg19_bn: its imagenet weights are not in the local"):
        networks.weight_files(ModelConfig(encoder_name="vgg19_bn"))
    with pytest.raises(WeightsError, match="vgg19_bn: not in the local Hugging Face cache"):
        networks.ensure_weights([("vgg19_bn", "imagenet")])
    with pytest.raises(HarnessError, match="ValidationError"):
        networks.encoder_problem(7)


def test_augmentations_are_tried_there(networks: NetworkProcess, tmp_path: Path) -> None:
    definition = definition_of({"fixed": {"data.augment": "missing.yaml"}})
    workspace, paths = Workspace(tmp_path), StudyPaths(tmp_path / "studies" / "x")
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        networks.check_augments(definition, workspace, paths)
    assert networks.check_augments(definition_of({}), workspace, paths) == []


def test_components_of_the_user_are_known_there(tmp_path: Path) -> None:
    file = tmp_path / "parts.py"
    file.write_text(
        "from harness import parts\nprint('noise on standard output')\n"
        "@parts.network()\ndef my_net(in_channels, classes, *, width: int = 4): ...\n"
    )
    networks = NetworkProcess(read_parts_file(file))
    try:
        assert "my_net" in networks.names().archs
        assert networks.names().options["my_net"] == ["width"]
    finally:
        networks.close()


def test_a_killed_child_is_an_error_and_the_next_question_starts_another() -> None:
    networks = NetworkProcess(None, module="tests.search.definition.dying_service")
    try:
        with pytest.raises(HarnessError, match=r"ended \(code -9\), perhaps for lack of memory"):
            networks.encoder_problem("deadly")
        assert networks.encoder_problem("resnet18") is None
        assert networks._child is not None
        networks._child.kill()
        networks._child.wait()
        assert networks.encoder_problem("resnet18") is None, "it was not asked when it died"
    finally:
        networks.close()


def test_a_child_that_nobody_asks_returns_its_memory() -> None:
    networks = NetworkProcess(None, module="tests.search.definition.quick_service")
    try:
        for _ in range(2):
            assert networks.encoder_problem("resnet18") is None
            child = networks._child
            assert child is not None
            assert child.wait(60) == 0
    finally:
        networks.close()


def test_the_child_ends_with_its_parent() -> None:
    code = (
        "import time\n"
        "from harness.search.definition.network_process import NetworkProcess\n"
        "networks = NetworkProcess(None)\n"
        "networks.encoder_problem('resnet18')\n"
        "print(networks._child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.stdout.close()
    parent.kill()
    parent.wait()
    end = time.monotonic() + 60
    while _is_running(child):
        assert time.monotonic() < end
        time.sleep(0.1)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
