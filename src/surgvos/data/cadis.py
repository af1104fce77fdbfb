"""CaDIS, version 2: frames of 25 cataract operations with 36 classes of anatomy and instruments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from surgvos.core.label_tables import label_space_by_name
from surgvos.core.labels import LabelSpace
from surgvos.data.archives import FileTree
from surgvos.data.class_maps import ClassMaps, FrameKey, LabelledFrames
from surgvos.data.dataset import Access, Archive, DataSet, Part, Plan, PrepareOptions, collect
from surgvos.io.masks import decode_label_map

SPACES = {
    "classes": label_space_by_name("cadis"),
    "experiment1": label_space_by_name("cadis-1"),
    "experiment2": label_space_by_name("cadis-2"),
    "experiment3": label_space_by_name("cadis-3"),
}
MAPS = ClassMaps(SPACES, "experiment2", (540, 960))


def _video_names(*numbers: int) -> tuple[str, ...]:
    return tuple(map(_video_name, numbers))


def _video_name(number: int) -> str:
    return f"Video{number:02d}"


TRAIN = _video_names(1, 3, 4, 6, 8, 9, 10, 11, 13, 14, 15, 17, 18, 19, 20, 21, 23, 24, 25)
VAL = _video_names(5, 7, 16)
TEST = _video_names(2, 12, 22)

_MISLABELLED = """
1: 1390 1420 1470 1810 2270 3070 3180 10080 10830 10880 10980 11020 11170 11330 11350 11400 11450 11750
2: 4120 5210 5340 5490 6510 6580 6630 6690 6710 6870 6920 6930 6940 7060 7280 7640 7690 7700 9020 9110 9390 9470 9920
2: 10040 10090 10170 10280 10290 10300 10780 10860 10980 11000 11370 11380 11440
3: 15860
4: 9780 9790 10470
5: 1700 1820 1890 9260
7: 8830 11210 12430 12650 12740 12840 12850 12870 12920 13960
8: 6770 7860 8060 10520 17690 18960 18980 20150 20330 20340 21330 21550 22330 22480
10: 10740 19630
11: 5250 13120
12: 2900 2940 17650 19560
14: 8140 8170 8220 8290 8510 8580 12010 12100 16900
15: 1810 11100 11110
16: 17890 17910
17: 900 910 920 930 2820 4120
19: 4180 59230 59270 59300 59310 60550 61270
20: 14870 15590 16080 16090 16100 16130 16150 16160 16200
21: 3440 3450 13500 13750
22: 3780 6530
24: 7000
25: 4600 33820
"""

_FILE = re.compile(r"(?:^|/)Video0*(\d+)/(Images|Labels)/Video0*\d+_frame(\d+)\.png$")


def _parse(table: str) -> frozenset[FrameKey]:
    rows = (line.split(": ") for line in table.strip().splitlines())
    return frozenset((_video_name(int(video)), int(number)) for video, row in rows for number in row.split())


MISLABELLED = _parse(_MISLABELLED)
"""Video and number of the 139 frames whose labels are known to be wrong."""


@dataclass(frozen=True)
class Cadis(DataSet):
    """Frames of 960x540 from the training videos of CATARACTS, split by video as published.

    Beside the object maps there are ``Labels/classes``, the 36 raw classes, and ``Labels/experiment1`` to
    ``experiment3``, those of the three published tasks; 255 is not scored. An object is one class of the second
    task, and its id is that of the class plus one, as 0 is the pupil. Which frames are labelled is said by the files
    alone. The correction is to leave out the frames that are known to be mislabelled.

    Reference: Grammatikopoulou et al., "CaDIS", arXiv 1906.11586 (classes, tasks, split); SASVi, arXiv 2502.09653
    (mislabelled frames).
    """

    name: ClassVar[str] = "cadis"
    title: ClassVar[str] = "CaDIS v2, Cataract Dataset for Image Segmentation"
    access: ClassVar[Access] = Access(
        address="https://cataracts-semantic-segmentation2020.grand-challenge.org/",
        steps="joining https://cataracts-semantic-segmentation2020.grand-challenge.org (an account is needed) and "
        "downloading",
        licence="The terms of the challenge, which are accepted on joining; ask its organisers before other uses.",
    )
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            name="CaDISv2.zip",
            holds=("frames", "labels"),
            splits=("train", "val", "test"),
            videos=TRAIN + VAL + TEST,
        ),
    )
    label_spaces: ClassVar[Mapping[str, LabelSpace]] = SPACES
    has_corrections: ClassVar[bool] = True
    image_hw: ClassVar[tuple[int, int]] = MAPS.image_hw

    parts: tuple[Part, ...] = (
        Part("train", "train", TRAIN, None),
        Part("val", "valid", VAL, None),
        Part("test", "valid", TEST, None),
    )

    def plan(self, files: FileTree, options: PrepareOptions) -> Plan:
        """See `DataSet.plan`."""
        left_out = MISLABELLED if options.corrections else frozenset()
        found = list(_find(files))
        source = LabelledFrames(files, MAPS, (at for at in found if at[1] not in left_out), decode_label_map)
        videos, gaps = collect(self.parts, lambda _, *key: source.has(*key), numbers=source.numbers)
        num_left_out = len(left_out & {key for _, key, _ in found})
        notes = [f"{num_left_out} mislabelled frames left out"] if num_left_out else []
        return Plan(tuple((part, source.plan(video, frames)) for part, video, frames in videos), gaps, tuple(notes))


def _find(files: FileTree) -> Iterator[tuple[str, FrameKey, str]]:
    for name in files:
        if found := _FILE.search(name):
            yield "frames" if found[2] == "Images" else "labels", (_video_name(int(found[1])), int(found[3])), name
