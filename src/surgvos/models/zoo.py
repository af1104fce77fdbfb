"""Published weights by name: those that a program may fetch, and those that a person must.

Checksums and sizes of SAM 2's files are those that several independent projects publish of them; of the other files
nobody publishes any, and none is made up here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from surgvos.models.resurg import resurg_small
from surgvos.models.sam2 import Sam2Config, small
from surgvos.models.zoo_entries import HandEntry, HubEntry, HubFolder, ZooEntry

_TRACKS = "follows what is shown"
_META = "https://dl.fbaipublicfiles.com/segment_anything_2"

# version, size: bytes of the file, its SHA-256, frames/s.
_SAM2_FILES = {
    ("sam2.1", "tiny"): (156_008_466, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69", 0.16),
    ("sam2.1", "small"): (184_416_285, "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38", 0.15),
    ("sam2.1", "base-plus"): (323_606_802, "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5", 0.11),
    ("sam2.1", "large"): (898_083_611, "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318", None),
    ("sam2", "tiny"): (155_906_050, "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125", 0.16),
    ("sam2", "small"): (184_309_650, "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3", 0.15),
    ("sam2", "base-plus"): (323_493_298, "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071", 0.11),
    ("sam2", "large"): (897_952_466, "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b", None),
}


def published_image_size(file: Path) -> int | None:
    """Input size of published weights by the name of their file, where no shape in the file tells it."""
    sizes = {e.file_name: e.config.image_size for e in ZOO.values() if isinstance(e, HandEntry) and e.config}
    return sizes.get(file.name)


def _sam2(version: str, size: str) -> HubEntry:
    file_name = f"{version}_hiera_{size.replace('-', '_')}.pt"
    num_bytes, sha256, frames_per_second = _SAM2_FILES[version, size]
    return HubEntry(
        name=f"{version}-hiera-{size}",
        task=_TRACKS,
        licence="Apache-2.0",
        file_name=file_name,
        num_bytes=num_bytes,
        sha256=sha256,
        frames_per_second=frames_per_second,
        repository=f"facebook/{version}-hiera-{size}",
        plain_address=f"{_META}/{'092824' if version == 'sam2.1' else '072824'}/{file_name}",
    )


def _surgical_sam2(version: str, file_id: str, config: Callable[[int], Sam2Config]) -> HandEntry:
    return HandEntry(
        name=f"surgical-{version}-endo18",
        task=_TRACKS,
        licence="none stated",
        file_name=f"{version}_hiera_s_endo18.pth",
        frames_per_second=0.91,
        address=f"https://drive.google.com/file/d/{file_id}/view",
        config=config(512),
    )


def _resurgsam2(dataset: str) -> HandEntry:
    return HandEntry(
        name=f"resurgsam2-endovis{dataset}",
        task="finds phrases, follows",
        licence="none stated",
        file_name=f"sam2.1_hiera_s_ref{dataset}.pth",
        address="https://drive.google.com/file/d/12pbQhWdKFNPAYk9IC33CVNbeBded7_wI/view",
        config=resurg_small(),
    )


def _sasvi(dataset: str, label_space: str, kind: str, sign: str) -> HandEntry:
    return HandEntry(
        name=f"sasvi-{dataset}-{kind}",
        task=f"overseer, {label_space}",
        licence="see its page",
        file_name=f"{dataset}_{kind}.pth",
        address=f"https://huggingface.co/SsharvienKumar/SASVi/tree/main/checkpoints ({dataset}, {kind})",
        sign=sign,
    )


def _first_small(image_size: int) -> Sam2Config:
    return replace(small(image_size), pointer_time_encoding=False, absent_spatial_embedding=False)


def _by_name(*entries: ZooEntry) -> dict[str, ZooEntry]:
    return {entry.name: entry for entry in entries}


ZOO: dict[str, ZooEntry] = _by_name(
    # Reference: Ravi et al., SAM 2 (arXiv 2408.00714), and the links of its repository's README.
    *(_sam2(version, size) for version, size in _SAM2_FILES),
    # Reference: Liu et al., Surgical SAM 2 (arXiv 2408.07931), and the links of its repository's README
    # (github.com/jinlab-imvr/Surgical-SAM-2). EndoVis's own terms exclude commercial use.
    _surgical_sam2("sam2.1", "1DyrrLKst1ZQwkgKM7BWCCwLxSXAgOcMI", small),
    _surgical_sam2("sam2", "102AsbwpntPfUV96ANO2AWe7L6feskYnM", _first_small),
    # Reference: Liu et al., ReSurgSAM2 (arXiv 2505.08581), and its repository's README
    # (github.com/jinlab-imvr/ReSurgSAM2): one archive holds both files.
    _resurgsam2("17"),
    _resurgsam2("18"),
)
"""Published models that `load_model` knows, by name."""

PARTS: dict[str, ZooEntry] = _by_name(
    # Reference: Sivakumar et al., SASVi (arXiv 2502.09653), and the page that its repository's README links. What the
    # files are called there is not known here; a folder per data set and kind is.
    *(
        _sasvi(dataset, label_space, kind, sign)
        for dataset, label_space in (("cadis", "cadis-2"), ("cholecseg8k", "cholecseg8k"), ("cataract1k", "cataract1k"))
        for kind, sign in (
            ("maskrcnn", "roi_heads.mask_predictor."),
            ("detr", "detr.class_labels_classifier."),
            ("mask2former", "model.pixel_level_module."),
        )
    ),
    # Reference: Radford et al., CLIP (arXiv 2103.00020).
    HubFolder(
        name="clip-vit-base-patch32",
        task="reads phrases for resurgsam2",
        licence="MIT (its code)",
        file_name="config.json",
        repository="openai/clip-vit-base-patch32",
        patterns=("*.json", "merges.txt", "*.safetensors", "pytorch_model.bin"),
    ),
)
"""Published weights that are no models by themselves: overseers and the reader of phrases."""

PUBLISHED: dict[str, ZooEntry] = ZOO | PARTS
"""All published weights, by name."""
