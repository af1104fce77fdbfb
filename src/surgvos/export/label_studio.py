"""Label Studio: one JSON list of tasks, one per frame, with brush masks in its own run lengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import quoteattr

import numpy as np

from surgvos.core.labels import LabelSpace
from surgvos.core.masks import encode_run_length
from surgvos.export.interface import FrameHead, LabelledVideo, ids_of_names, join_masks, named_labels, one_size
from surgvos.export.json_files import explaining, file_in, read_json_file, write_list
from surgvos.export.polygons import fill_rings

FILE, CONFIG, _WHAT = "tasks.json", "labeling_config.xml", "tasks of Label Studio"
_STORAGE = "/data/local-files/?d="
_SIZE_BITS, _WIDTH_BITS, _CHOICE_BITS, _VALUE_BITS = 32, 5, 2, 8
_RUN_BITS = (3, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class LabelStudio:
    """Label Studio's JSON; nothing is lost.

    Images are addressed as Label Studio's local storage has them: put the frames into the folder ``<video>`` of it.
    """

    summary = "JSON tasks with brush masks, and labeling_config.xml for the project"

    def write(self, video: LabelledVideo, folder: Path) -> None:
        """Write ``tasks.json``, and ``labeling_config.xml`` to make a project with the same labels."""
        labels = "".join(
            f'    <Label value={quoteattr(label.name)} background="#{bytes(label.color).hex()}"/>\n'
            for label in video.labels.labels
        )
        (folder / CONFIG).write_text(
            '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
            f'  <BrushLabels name="label" toName="image">\n{labels}  </BrushLabels>\n</View>\n',
            encoding="utf-8",
        )
        with (folder / FILE).open("w", encoding="utf-8", newline="\n") as file:
            write_list(file, _tasks(video))
            file.write("\n")

    def read(self, path: Path, labels: LabelSpace | None) -> LabelledVideo:
        """Open an export in JSON with brush or polygon labels; the first annotation of each task counts.

        Frames without an object may say nothing of their size; it is that of the others.
        """
        file = file_in(path, FILE, "*.json")
        tasks = read_json_file(file, _WHAT)
        with explaining(file, _WHAT):
            found = [_regions(task) for task in tasks]
            sizes = [(region["original_height"], region["original_width"]) for regions in found for region in regions]
            sizes += [(task["data"]["height"], task["data"]["width"]) for task in tasks if "height" in task["data"]]
            image_hw = one_size(sizes, file)
            names = list(dict.fromkeys(_name_of(region) for regions in found for region in regions))
            ids = ids_of_names(names, labels)
            heads = [_head(task, position) for position, task in enumerate(tasks)]

        def read(position: int) -> dict[int, np.ndarray]:
            with explaining(file, _WHAT):
                return join_masks((ids[_name_of(region)], _decode(region, image_hw)) for region in found[position])

        space = named_labels({number: name for name, number in ids.items()}) if labels is None else labels
        return LabelledVideo(file.stem, image_hw, space, heads, read)


def _tasks(video: LabelledVideo) -> Iterator[dict[str, Any]]:
    height, width = video.image_hw
    for head, masks in video:
        regions = [
            {
                "id": f"{head.name}-{object_id}",
                "type": "brushlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {
                    "format": "rle",
                    "rle": encode_brush(mask),
                    "brushlabels": [video.labels[object_id].name],
                },
            }
            for object_id, mask in masks.items()
        ]
        image = f"{_STORAGE}{video.name}/{head.image_name}"
        data = {"image": image, "frame_index": head.index, "width": width, "height": height}
        yield {"data": data, "annotations": [{"result": regions}]}


def encode_brush(mask: np.ndarray) -> list[int]:
    """Encode a mask as Label Studio does: runs over an image of four equal channels, 0 or 255, row by row.

    The bits are: how many values there are (32), bits of a value less one (5), bits of the four kinds of runs less
    one (4 each); then, for each run, 1, its kind (2), its length less one, and its value.

    Args:
        mask: bool ``(h, w)``.

    Returns:
        Bytes as numbers.
    """
    # Run lengths of the house go down columns and begin with a run of nothing, which may be of length 0.
    runs = encode_run_length(mask.T)["counts"]
    bits = [f"{4 * mask.size:0{_SIZE_BITS}b}", f"{_VALUE_BITS - 1:0{_WIDTH_BITS}b}"]
    bits += [f"{size - 1:04b}" for size in _RUN_BITS]
    for number, count in enumerate(runs):
        value = f"{255 * (number % 2):0{_VALUE_BITS}b}"
        left = 4 * count
        while left > 0:
            length = min(left, 2 ** _RUN_BITS[-1])
            kind = next(k for k, size in enumerate(_RUN_BITS) if length <= 2**size)
            bits.append(f"1{kind:0{_CHOICE_BITS}b}{length - 1:0{_RUN_BITS[kind]}b}{value}")
            left -= length
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode_brush(rle: list[int], image_hw: tuple[int, int]) -> np.ndarray:
    """Decode what `encode_brush`, or Label Studio itself, has encoded.

    Args:
        rle: Bytes as numbers.
        image_hw: Size of the mask.

    Returns:
        bool ``(h, w)``: where the last of the four channels is not 0.

    Raises:
        ValueError: It ends early, or is of another size.
    """
    bits = _Bits(bytes(rle))
    size = bits.take(_SIZE_BITS)
    if size != 4 * image_hw[0] * image_hw[1]:
        raise ValueError(f"run lengths of {size} values for {image_hw[1]}x{image_hw[0]} pixels")
    value_bits = bits.take(_WIDTH_BITS) + 1
    run_bits = [bits.take(4) + 1 for _ in range(4)]
    values = np.zeros(size, dtype=bool)
    done = 0
    while done < size:
        is_run = bits.take(1)
        length = bits.take(run_bits[bits.take(_CHOICE_BITS)]) + 1
        if done + length > size:
            raise ValueError("run lengths that go on behind the image")
        if is_run:
            values[done : done + length] = bits.take(value_bits) > 0
        else:
            values[done : done + length] = [bits.take(value_bits) > 0 for _ in range(length)]
        done += length
    return values.reshape(*image_hw, 4)[..., 3]


class _Bits:
    """Numbers from bits, in order."""

    def __init__(self, content: bytes) -> None:
        self._text = np.unpackbits(np.frombuffer(content, np.uint8)).astype(np.uint8).tobytes().translate(_DIGITS)
        self._next = 0

    def take(self, count: int) -> int:
        digits = self._text[self._next : self._next + count]
        if len(digits) < count:
            raise ValueError("run lengths that end early")
        self._next += count
        return int(digits, 2)


_DIGITS = b"01" + bytes(range(2, 256))


def _regions(task: dict[str, Any]) -> list[dict[str, Any]]:
    annotations = task.get("annotations") or task.get("predictions") or [{"result": []}]
    return [region for region in annotations[0]["result"] if region["type"] in ("brushlabels", "polygonlabels")]


def _name_of(region: dict[str, Any]) -> str:
    return str(region["value"][region["type"]][0])


def _head(task: dict[str, Any], position: int) -> FrameHead:
    name = PurePosixPath(unquote(str(task["data"]["image"])).replace("\\", "/"))
    return FrameHead(int(task["data"].get("frame_index", position)), name.stem, image_name=name.name)


def _decode(region: dict[str, Any], image_hw: tuple[int, int]) -> np.ndarray:
    value = region["value"]
    if region["type"] == "brushlabels":
        return decode_brush(value["rle"], image_hw)
    corners = np.array(value["points"], dtype=float) / 100 * image_hw[::-1]
    return fill_rings([np.floor(corners)], image_hw)
