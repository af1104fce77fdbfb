"""Objects of one class that are told apart, by ids that say which class they are of: 501 and 502 are of class 5."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from surgvos.core.labels import LabelSpace, shade

INSTANCES_PER_CLASS = 100
"""Ids that a class has; number 0 of them is not used, so that an instance of class 0 is not 0."""

MAX_CLASS_ID = 65535 // INSTANCES_PER_CLASS - 1
"""Highest class id whose instances have ids that can be written."""


def class_of(instance_id: int) -> int:
    """The class of an instance."""
    return instance_id // INSTANCES_PER_CLASS


def free_instance(class_id: int, taken: Collection[int]) -> int | None:
    """The lowest instance id of a class that is not taken, or None where all are."""
    first = class_id * INSTANCES_PER_CLASS + 1
    return next((i for i in range(first, first + INSTANCES_PER_CLASS - 1) if i not in taken), None)


def merge_instances(masks: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Masks by class id of masks by instance id, bool ``(h, w)``."""
    merged: dict[int, np.ndarray] = {}
    for instance_id, mask in masks.items():
        class_id = class_of(instance_id)
        merged[class_id] = merged[class_id] | mask if class_id in merged else mask
    return merged


def instance_names(classes: LabelSpace) -> dict[int, str]:
    """What instances are called: 501 is "grasper 1" where 5 is "grasper"."""
    numbers = range(1, INSTANCES_PER_CLASS)
    return {
        label.id * INSTANCES_PER_CLASS + number: f"{label.name} {number}"
        for label in classes.labels
        for number in numbers
    }


def instance_palette(classes: LabelSpace) -> np.ndarray:
    """Colours by instance id, uint8 ``(n, 3)`` RGB: that of the class for the first of it, shades for the others."""
    palette = np.repeat(classes.palette(), INSTANCES_PER_CLASS, axis=0)
    for label in classes.labels:
        for number in range(1, INSTANCES_PER_CLASS):
            palette[label.id * INSTANCES_PER_CLASS + number] = shade(label.color, number - 1)
    return palette
