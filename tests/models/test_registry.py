"""Models by name, device and precision."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
import torch

from models.test_checkpoints import TOY
from surgvos.errors import CheckpointError, ConfigError
from surgvos.models.checkpoints import save_model
from surgvos.models.devices import resolve_device, resolve_dtype, spare_a_core, upload
from surgvos.models.registry import load_model, model_names
from surgvos.models.sam2 import Sam2Model
from surgvos.models.zoo import ZOO


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "toy.safetensors"
    save_model(path, Sam2Model(TOY))
    return path


def test_load_from_file_and_folder(weights: Path) -> None:
    for place in (weights, str(weights), weights.parent):
        model = load_model(place, device="cpu", dtype="fp32", image_size=96)
        assert isinstance(model, Sam2Model)
        assert not model.training
        assert model.compute_dtype == torch.float32
        assert model.input_hw((1080, 1920)) == (96, 96)


def test_precision_travels_with_the_model(weights: Path) -> None:
    model = load_model(weights, device="cpu", dtype="bf16")
    assert model.compute_dtype == torch.bfloat16
    assert model.memory_attention.layers[0].linear1.weight.dtype == torch.bfloat16
    assert model.maskmem_tpos_enc.dtype == torch.float32


def test_folder_with_several_files(weights: Path) -> None:
    (weights.parent / "other.pt").touch()
    with pytest.raises(CheckpointError, match=r"one weights file in .*, got other\.pt, toy\.safetensors"):
        load_model(weights.parent)


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="got none"):
        load_model(tmp_path)


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"got 'sam2.1-tiny', try 'sam2.1-hiera-tiny'"):
        load_model("sam2.1-tiny")


def test_missing_path_is_not_taken_for_a_name() -> None:
    with pytest.raises(CheckpointError, match="got nothing at"):
        load_model("nowhere/sam2.1_hiera_tiny.pt")


def test_names_have_addresses() -> None:
    assert set(ZOO) <= set(model_names())
    entry = ZOO["sam2.1-hiera-base-plus"]
    assert entry.address.endswith("/facebook/sam2.1-hiera-base-plus/resolve/main/sam2.1_hiera_base_plus.pt")


def test_name_is_fetched_from_the_hub(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def fetch(**request: str) -> str:
        asked.update(request)
        return str(weights)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    assert isinstance(load_model("sam2.1-hiera-tiny", device="cpu"), Sam2Model)
    assert asked == {"repo_id": "facebook/sam2.1-hiera-tiny", "filename": "sam2.1_hiera_tiny.pt"}


def test_offline_name_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**request: str) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"no route to host, try again online, or fetch https://.*tiny\.pt"):
        load_model("sam2-hiera-tiny")


def test_auto_device_exists() -> None:
    assert torch.zeros(1, device=resolve_device("auto")).item() == 0


@pytest.mark.parametrize(("device", "waits"), [("cpu", True), ("mps", True), ("cuda", False), ("cuda:1", False)])
def test_uploads_wait_where_what_is_uploaded_may_still_be_read(device: str, waits: bool) -> None:
    class Uploaded(torch.Tensor):
        def to(self, *args: object, non_blocking: bool = False) -> object:
            return args, non_blocking

    assert upload(torch.zeros(3).as_subclass(Uploaded), device) == ((device,), not waits)


@pytest.mark.parametrize("device", ["cpux", "xla", "cuda:99"])
def test_absent_device_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=f"got '{device}', try 'auto' or 'cpu'"):
        resolve_device(device)


def test_precision_names() -> None:
    cpu = torch.device("cpu")
    assert resolve_dtype("fp16", cpu) == torch.float16
    assert resolve_dtype(torch.bfloat16, cpu) == torch.bfloat16
    assert resolve_dtype("auto", cpu) in (torch.float32, torch.bfloat16)
    with pytest.raises(ConfigError, match="auto, fp32, bf16, fp16, got 'int8'"):
        resolve_dtype("int8", cpu)


@pytest.mark.parametrize(
    ("num_cores", "device", "said", "expected"),
    [
        (8, "cpu", None, [7]),
        (1, "cpu", None, [1]),
        (8, "cpu", "4", []),
        (8, "meta", None, []),
    ],
)
def test_a_core_is_left_to_others(
    monkeypatch: pytest.MonkeyPatch, num_cores: int, device: str, said: str | None, expected: list[int]
) -> None:
    num_threads: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: num_cores)
    monkeypatch.setattr(torch, "set_num_threads", num_threads.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    spare_a_core(torch.device(device))
    assert num_threads == expected
