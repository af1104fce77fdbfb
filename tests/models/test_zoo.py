"""Published weights: fetched by hand or from the hub, mirrored, compared with what is known of them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import torch
from typer.testing import CliRunner, Result

from models.test_checkpoints import empty_state
from surgvos.cli.main import app
from surgvos.errors import CheckpointError
from surgvos.models.registry import bundled_weights, find_weights, load_model
from surgvos.models.sam2 import Sam2Config, Sam2Model, small, tiny
from surgvos.models.zoo import PARTS, PUBLISHED, ZOO
from surgvos.models.zoo_entries import HandEntry, HubEntry, Verdict

NAMES = ("surgical-sam2.1-endo18", "surgical-sam2-endo18")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SURGVOS_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("SURGVOS_MIRROR", raising=False)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    return tmp_path / "models"


def entry(name: str) -> HandEntry:
    found = ZOO[name]
    assert isinstance(found, HandEntry)
    return found


def write_weights(path: Path, config: Sam2Config, *, bare: bool) -> Path:
    """A checkpoint of the real names and shapes; every tensor repeats one number, so that the file is small."""
    state = {
        name: torch.full((1,), 0.01 * (index % 7)).expand(value.shape)
        for index, (name, value) in enumerate(empty_state(config).items())
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state if bare else {"model": state}, path)
    return path


def models(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


@pytest.mark.parametrize("bare", [True, False], ids=["bare", "under model"])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_fetched_by_hand_is_taken_in_and_found_by_name(
    tmp_path: Path, own_folder: Path, name: str, bare: bool
) -> None:
    file = write_weights(tmp_path / "downloads" / "renamed.pth", entry(name).config, bare=bare)
    result = models("get", name, "--from", file)
    assert result.exit_code == 0, result.output
    kept = own_folder / name / entry(name).file_name
    assert result.output == f"{kept}\n"
    assert kept.read_bytes() == file.read_bytes()
    assert models("get", name).output == f"{kept}\n"
    (line,) = [line for line in models("list").output.splitlines() if line.startswith(f"{name} ")]
    assert f" {kept.stat().st_size / 1e6:.1f} MB " in line
    assert line.endswith(" fetched")
    model = load_model(name, device="cpu", dtype="fp32")
    assert isinstance(model, Sam2Model)
    assert model.input_hw((1024, 1280)) == (512, 512)
    assert model.config.pointer_time_encoding == ("sam2.1" in name)
    assert load_model(name, device="cpu", image_size=256).input_hw((1024, 1280)) == (256, 256)


@pytest.mark.parametrize("name", NAMES)
def test_without_the_file_one_sentence_says_where_it_is(name: str) -> None:
    result = models("get", name)
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert entry(name).address in result.output
    assert f"surgvos models get {name} --from {entry(name).file_name}" in result.output
    (line,) = [line for line in models("list").output.splitlines() if line.startswith(f"{name} ")]
    assert "none stated" in line
    assert "by hand" in line
    with pytest.raises(CheckpointError, match="only a person can fetch them"):
        load_model(name)


def test_a_file_of_another_model_is_not_taken_in(tmp_path: Path, own_folder: Path) -> None:
    for config, got in ((small(), "SAM 2.1 with 16 blocks"), (tiny(), "SAM 2.1 with 12 blocks")):
        file = write_weights(tmp_path / "other.pth", config, bare=True)
        result = models("get", NAMES[1], "--from", file)
        assert result.exit_code == 2
        assert f"expected the weights of {NAMES[1]} (SAM 2.0 with 16 blocks)" in result.output
        assert f"got {got}; try" in result.output
    assert not own_folder.exists()


def test_what_is_no_weights_file_is_not_taken_in(tmp_path: Path, own_folder: Path) -> None:
    (tmp_path / "page.pth").write_text("<html>Quota exceeded</html>")
    result = models("get", NAMES[0], "--from", tmp_path / "page.pth")
    assert result.exit_code == 2
    assert "page.pth" in result.output
    assert not own_folder.exists()


def test_only_models_fetched_by_hand_are_taken_in(tmp_path: Path) -> None:
    result = models("get", "sam2.1-hiera-small", "--from", tmp_path / "x.pt")
    assert result.exit_code == 2
    by_hand = [name for name, found in PUBLISHED.items() if isinstance(found, HandEntry)]
    assert set(NAMES) < set(by_hand)
    assert f"({', '.join(by_hand)}), got 'sam2.1-hiera-small'" in result.output


def test_the_published_file_name_stands_for_its_input_size(tmp_path: Path) -> None:
    named = write_weights(tmp_path / entry(NAMES[0]).file_name, small(), bare=True)
    other = write_weights(tmp_path / "small.pth", small(), bare=True)
    shown = {path: models("info", path).output for path in (named, other)}
    assert "512x512" in shown[named]
    assert "1024x1024" in shown[other]


def test_convert_writes_the_input_size_that_no_shape_tells(tmp_path: Path) -> None:
    file = write_weights(tmp_path / "tiny.pth", tiny(), bare=True)
    target = tmp_path / "tiny.safetensors"
    result = models("convert", file, target, "--image-size", "512")
    assert result.exit_code == 0, result.output
    assert load_model(target, device="cpu").input_hw((1024, 1280)) == (512, 512)
    target.unlink()  # it is large


TINY = ZOO["sam2.1-hiera-tiny"]
HUB_FILE = "sam2.1_hiera_tiny.pt"


def as_published(content: bytes, monkeypatch: pytest.MonkeyPatch) -> HubEntry:
    """SAM 2.1 tiny, as if this content were published."""
    assert isinstance(TINY, HubEntry)
    changed = replace(TINY, sha256=hashlib.sha256(content).hexdigest(), num_bytes=len(content))
    monkeypatch.setitem(ZOO, TINY.name, changed)
    monkeypatch.setitem(PUBLISHED, TINY.name, changed)
    return changed


def unreachable(*_: object, **__: object) -> str:
    raise ConnectionError("no route to host")


def test_the_table_is_plausible() -> None:
    for name, found in PUBLISHED.items():
        assert found.name == name
        assert found.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", found.sha256)
        assert found.licence
        assert found.task
        assert found.origin
    sums = [found.sha256 for found in PUBLISHED.values() if found.sha256]
    assert len(set(sums)) == len(sums) == 8
    assert not set(ZOO) & set(PARTS)


def test_the_mirror_goes_before_any_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    place = tmp_path / "mirror" / TINY.name / TINY.file_name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"weights")
    monkeypatch.setenv("SURGVOS_MIRROR", str(tmp_path / "mirror"))
    assert ZOO[TINY.name].fetch() == place
    assert find_weights(TINY.name) == place
    place.rename(tmp_path / "mirror" / TINY.file_name)
    assert ZOO[TINY.name].fetch() == tmp_path / "mirror" / TINY.file_name
    (line,) = [line for line in models("list").output.splitlines() if line.startswith(f"{TINY.name} ")]
    assert line.endswith(" in the mirror")


def test_a_copy_is_a_mirror_and_can_be_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = NAMES[0]
    file = write_weights(tmp_path / "file.pth", entry(name).config, bare=True)
    stick = tmp_path / "stick"
    result = models("get", name, "--from", file, "--to", stick)
    assert result.output == f"{stick / name / entry(name).file_name}\n"
    monkeypatch.setenv("SURGVOS_MODELS", str(tmp_path / "another machine"))
    assert models("get", name, "--mirror", stick).output == result.output
    checked = models("verify", name, "--mirror", stick)
    assert checked.exit_code == 0
    assert "as it was when it came here; no checksum of it is published" in checked.output
    (stick / name / entry(name).file_name).write_bytes(b"damaged")
    assert models("verify", name, "--mirror", stick).exit_code == 1
    assert models("get", name, "--mirror", stick).exit_code == 1
    assert models("get", name, "--mirror", tmp_path / "nowhere").exit_code == 2


def test_where_the_hub_is_out_of_reach_the_plain_address_is_asked(
    tmp_path: Path, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"weights"
    published = as_published(content, monkeypatch)
    asked = []

    def fetch(address: str, target: Path, **known: object) -> Path:
        asked.append((address, known["sha256"]))
        target.parent.mkdir(parents=True)
        target.write_bytes(content)
        return target

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    monkeypatch.setattr("surgvos.models.zoo_entries.download", fetch)
    with pytest.warns(UserWarning, match="the hub gave ConnectionError: no route to host; fetching https://"):
        result = models("get", TINY.name)
    assert result.output.endswith(f"{own_folder / TINY.name / HUB_FILE}\n")
    assert asked == [(published.plain_address, published.sha256)]
    assert models("get", TINY.name).output == f"{own_folder / TINY.name / HUB_FILE}\n"
    assert len(asked) == 1


def test_who_wants_to_be_offline_is_left_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("surgvos.models.zoo_entries.download", unreachable)
    with pytest.raises(CheckpointError, match=r"try again online, or fetch https://.*\.pt and give its path, or name"):
        ZOO[TINY.name].fetch()


def test_a_gated_repository_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from unittest.mock import Mock

    from huggingface_hub.errors import GatedRepoError

    def refuse(**_: str) -> str:
        raise GatedRepoError("403 Client Error", response=Mock())

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    gated = replace(TINY, plain_address=None)
    with pytest.raises(CheckpointError, match=r"as its authors ask who you are; try https://\S+ in a browser.*hf auth"):
        gated.fetch()


def test_verify_says_same_other_and_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / HUB_FILE
    file.write_bytes(b"weights")
    as_published(b"weights", monkeypatch)
    assert models("verify", file).output == f"{'ok':<9}{file!s:<30}{TINY.name}: as published\n"
    file.write_bytes(b"other")
    result = models("verify", file)
    assert result.exit_code == 1
    assert f"differs  {file}" in result.output
    assert result.output.endswith(f"expected weights as they were published, got others for {file}\n")
    stranger = tmp_path / "mine.pt"
    stranger.write_bytes(b"other")
    assert "no published model has its name or its content" in models("verify", stranger).output
    stranger.write_bytes(b"weights")
    assert f"{TINY.name}: as published" in models("verify", stranger).output
    assert "not here; it comes by hand" in models("verify", NAMES[0]).output
    assert models("verify", "sam9").exit_code == 2


def test_verify_of_nothing_named_goes_through_what_is_here() -> None:
    result = models("verify")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split()[1] for line in lines] == sorted(bundled_weights())
    assert all(line.endswith("as published") for line in lines)


def test_what_the_hub_announced_stands_in_for_a_checksum(tmp_path: Path) -> None:
    content = b"weights"
    blob = tmp_path / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir()
    blob.write_bytes(content)
    link = tmp_path / HUB_FILE
    link.symlink_to(blob)
    unknown = replace(TINY, sha256=None)
    assert unknown.verify(link).verdict is Verdict.SAME
    assert TINY.verify(link).verdict is Verdict.UNKNOWN
    blob.write_bytes(b"damaged")
    assert unknown.verify(link).verdict is Verdict.DIFFERS
    plain = tmp_path / "plain.pt"
    plain.write_bytes(content)
    assert unknown.verify(plain).verdict is Verdict.UNKNOWN


def test_an_overseer_is_taken_in_by_its_kind(tmp_path: Path, own_folder: Path) -> None:
    name = "sasvi-cadis-maskrcnn"
    right, wrong = tmp_path / "best_val_f1.pth", tmp_path / "detr.pth"
    torch.save({"roi_heads.mask_predictor.conv5_mask.bias": torch.zeros(16)}, right)
    torch.save({"detr.class_labels_classifier.bias": torch.zeros(19)}, wrong)
    assert models("get", name, "--from", wrong).exit_code == 2
    result = models("get", name, "--from", right)
    assert result.output == f"{own_folder / name / 'cadis_maskrcnn.pth'}\n"
    assert "overseer, cadis-2" in models("info", name).output


def test_clip_is_a_folder_that_can_be_mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from surgvos.models.text.clip import ClipTextTower

    name = "clip-vit-base-patch32"
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "config.json").write_text("{}")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(snapshot))
    assert models("get", name).output == f"{snapshot}\n"
    assert models("get", name, "--to", tmp_path / "stick").output == f"{tmp_path / 'stick' / name}\n"
    assert PARTS[name].verify(snapshot).verdict is Verdict.UNKNOWN
    blob = tmp_path / hashlib.sha256(b"tower").hexdigest()
    blob.write_bytes(b"tower")
    (snapshot / "model.safetensors").symlink_to(blob)
    assert PARTS[name].verify(snapshot).verdict is Verdict.SAME
    blob.write_bytes(b"damaged")
    assert PARTS[name].verify(snapshot).verdict is Verdict.DIFFERS
    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    assert models("get", name).exit_code == 2
    monkeypatch.setenv("SURGVOS_MIRROR", str(tmp_path / "stick"))
    assert models("get", name).output == f"{tmp_path / 'stick' / name}\n"
    monkeypatch.delenv("SURGVOS_CLIP", raising=False)
    with pytest.raises(CheckpointError, match=re.escape(f"text tower of CLIP at {tmp_path / 'stick' / name}, got")):
        ClipTextTower()(["a needle"], torch.device("cpu"))


def test_info_of_what_is_not_here_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    result = models("info", TINY.name)
    assert result.exit_code == 0
    assert TINY.sha256 is not None
    for fact in (TINY.sha256, "156.0 MB", "Apache-2.0", "on first use"):
        assert fact in result.output
    assert "none is known" in models("info", NAMES[0]).output
