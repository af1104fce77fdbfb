"""The label spaces of published data sets, as their papers and files state them."""

from __future__ import annotations

import difflib

from surgvos.core.labels import Label, LabelSpace
from surgvos.errors import InputError

_CADIS = (
    ("Pupil", "#0089FF"),
    ("Surgical Tape", "#FFA500"),
    ("Hand", "#FF9CC9"),
    ("Eye Retractors", "#6300FF"),
    ("Iris", "#FF0000"),
    ("Skin", "#FF00A5"),
    ("Cornea", "#FFFFFF"),
    ("Hydrodissection Cannula", "#8D8D8D"),
    ("Viscoelastic Cannula", "#FFDA00"),
    ("Capsulorhexis Cystotome", "#AD9CFF"),
    ("Rycroft Cannula", "#494949"),
    ("Bonn Forceps", "#FAD5FF"),
    ("Primary Knife", "#FF9C9C"),
    ("Phacoemulsifier Handpiece", "#63FF00"),
    ("Lens Injector", "#9DE1FF"),
    ("I/A Handpiece", "#FF597C"),
    ("Secondary Knife", "#ADFF9C"),
    ("Micromanipulator", "#FF3C00"),
    ("I/A Handpiece Handle", "#2800FF"),
    ("Capsulorhexis Forceps", "#AA7C00"),
    ("Rycroft Cannula Handle", "#BCFF00"),
    ("Phacoemulsifier Handpiece Handle", "#00CFFF"),
    ("Capsulorhexis Cystotome Handle", "#00FFCF"),
    ("Secondary Knife Handle", "#BC00FF"),
    ("Lens Injector Handle", "#F300FF"),
    ("Suture Needle", "#00CB6C"),
    ("Needle Holder", "#FCFF00"),
    ("Charleux Cannula", "#5DB6B1"),
    ("Primary Knife Handle", "#0051CB"),
    ("Vitrectomy Handpiece", "#D3B778"),
    ("Mendez Ring", "#E7CB00"),
    ("Marker", "#007CFF"),
    ("Hydrodissection Cannula Handle", "#0A5B2C"),
    ("Troutman Forceps", "#02003C"),
    ("Cotton", "#009002"),
    ("Iris Hooks", "#853B3B"),
)

_CADIS_2 = {
    "Cannula": (7, 8, 10, 20, 27, 32),
    "Cap. Cystotome": (9, 22),
    "Tissue Forceps": (11, 33),
    "Primary Knife": (12, 28),
    "Phaco Handpiece": (13, 21),
    "Lens Injector": (14, 24),
    "I/A Handpiece": (15, 18),
    "Secondary Knife": (16, 23),
    "Micromanipulator": (17,),
    "Cap. Forceps": (19,),
}
"""Instruments of the second experiment, from id 7 on, and the raw values that they gather."""

_CHOLECSEG8K = (
    ("Abdominal Wall", "#D28C8C", 11),
    ("Liver", "#FF7272", 21),
    ("GI Tract", "#E7469C", 13),
    ("Fat", "#BAB74B", 12),
    ("Grasper", "#AAFF00", 31),
    ("Connective Tissue", "#FF5500", 23),
    ("Blood", "#FF0000", 24),
    ("Cystic Duct", "#FFFF00", 25),
    ("L-hook Electrocautery", "#A9FFB8", 32),
    ("Gallbladder", "#FFA0A5", 22),
    ("Hepatic Vein", "#003280", 33),
    ("Liver Ligament", "#6F4A00", 5),
)

_CATARACT1K = (
    ("Cornea", "#AF3235"),
    ("Pupil", "#DFE674"),
    ("Lens", "#AF72B0"),
    ("Slit Knife", "#46C5DD"),
    ("Gauge", "#F282B4"),
    ("Capsulorhexis Cystotome", "#98CC70"),
    ("Spatula", "#671800"),
    ("Phacoemulsification Tip", "#009B55"),
    ("Irrigation-Aspiration", "#F7921D"),
    ("Lens Injector", "#613F99"),
    ("Incision Knife", "#46C5DD"),
    ("Katena Forceps", "#EE2967"),
    ("Capsulorhexis Forceps", "#0071BC"),
)

_ENDOVIS18_SCENE = (
    ("instrument-shaft", "#00FF00"),
    ("instrument-clasper", "#00FFFF"),
    ("instrument-wrist", "#7DFF0C"),
    ("kidney-parenchyma", "#FF3700"),
    ("covered-kidney", "#18377D"),
    ("thread", "#BB9B19"),
    ("clamps", "#00FF7D"),
    ("suturing-needle", "#FFFF7D"),
    ("suction-instrument", "#7B0FAF"),
    ("small-intestine", "#7C9B05"),
    ("ultrasound-probe", "#0CFF8D"),
)

_ENDOVIS17_TYPES = (
    "bipolar forceps",
    "prograsp forceps",
    "large needle driver",
    "vessel sealer",
    "grasping retractor",
    "monopolar curved scissors",
    "other",
)
_ENDOVIS18_TYPES = (
    "bipolar forceps",
    "prograsp forceps",
    "large needle driver",
    "monopolar curved scissors",
    "ultrasound probe",
    "suction",
    "clip applier",
)
_NANO_CLASSES = ("instrument", "needle", "vessel", "organ", "iris", "pupil")


def label_space_by_name(name: str) -> LabelSpace:
    """Find the label space of a data set.

    Raises:
        InputError: There is none of that name.
    """
    if name not in LABEL_SPACES:
        nearest = difflib.get_close_matches(name, LABEL_SPACES, n=1, cutoff=0.0)[0]
        raise InputError(f"expected a label space, one of {', '.join(LABEL_SPACES)}, got {name!r}; try {nearest!r}")
    return LABEL_SPACES[name]


def _label(number: int, name: str, color: str) -> Label:
    red, green, blue = bytes.fromhex(color[1:])
    return Label(number, name, (red, green, blue))


def _cadis(name: str, names: list[str], raw_ids: dict[int, int]) -> LabelSpace:
    """A task on CaDIS: colours go by the id of the task, not by that of the raw class."""
    labels = tuple(_label(i, text, _CADIS[i][1]) for i, text in enumerate(names))
    every = dict.fromkeys((*range(len(_CADIS)), 255), 255)
    return LabelSpace(labels, background=255, ignore=255, name=name, raw_ids=every | raw_ids)


def _numbered(name: str, rows: tuple[tuple[str, str], ...]) -> LabelSpace:
    return LabelSpace(tuple(_label(i, text, color) for i, (text, color) in enumerate(rows, start=1)), name=name)


def _build() -> tuple[LabelSpace, ...]:
    cadis_names = [name for name, _ in _CADIS]
    anatomy = {i: i for i in range(7)}
    gathered = {raw: 7 + i for i, group in enumerate(_CADIS_2.values()) for raw in group}
    cholec = tuple(_label(i, text, color) for i, (text, color, _) in enumerate(_CHOLECSEG8K, start=1))
    cholec_raw = {value: i for i, (_, _, value) in enumerate(_CHOLECSEG8K, start=1)}
    endovis17_parts = LabelSpace.from_names(["shaft", "wrist", "clasper"])
    return (
        _cadis("cadis", cadis_names, {i: i for i in range(36)}),
        _cadis("cadis-1", [*cadis_names[:7], "Instrument"], anatomy | dict.fromkeys(range(7, 36), 7)),
        _cadis("cadis-2", [*cadis_names[:7], *_CADIS_2], anatomy | gathered),
        _cadis("cadis-3", cadis_names[:25], {i: i for i in range(25)}),
        LabelSpace(
            cholec,
            ignore=255,
            name="cholecseg8k",
            background_color=(127, 127, 127),
            raw_ids={50: 0, 0: 255, 255: 255} | cholec_raw,
        ),
        _numbered("cataract1k", _CATARACT1K),
        LabelSpace.from_names(_ENDOVIS17_TYPES, name="endovis17-types"),
        LabelSpace(endovis17_parts.labels, name="endovis17-parts", raw_ids={0: 0, 10: 1, 20: 2, 30: 3}),
        LabelSpace.from_names(_ENDOVIS18_TYPES, name="endovis18-types"),
        _numbered("endovis18-scene", _ENDOVIS18_SCENE),
        LabelSpace.from_names(_NANO_CLASSES, name="surgvos-nano"),
    )


LABEL_SPACES = {space.name: space for space in _build()}
"""Label spaces by name.

``cadis`` holds the 36 raw classes, ``cadis-1`` to ``cadis-3`` those of the three experiments; SASVi uses the second.
CaDIS has no background: 255 is everything else and is not scored. CholecSeg8k is read by the values of its watershed
masks; black background is a colour, not a class.
"""
