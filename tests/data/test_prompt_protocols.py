"""Prompts of published evaluations: where they lie, when they are given, and that they are always the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgvos.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt, check_prompt_fits
from surgvos.data.prompt_protocols import (
    PromptProtocol,
    centroid_point,
    farthest_points,
    first_appearances,
    interior_point,
    prompts_for_video,
)
from surgvos.errors import ConfigError, InputError

HW = (24, 40)


def label_map(**boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Boxes x0, y0, x1, y1 by object: ``o3=(...)`` paints id 3."""
    painted = np.zeros(HW, dtype=np.uint8)
    for name, (x0, y0, x1, y1) in boxes.items():
        painted[y0:y1, x0:x1] = int(name[1:])
    return painted


def only_prompt(mask: np.ndarray, protocol: PromptProtocol, video: str = "v") -> Prompt:
    ((_, _, prompt),) = prompts_for_video([(0, mask.astype(np.uint8))], protocol, video=video)
    return prompt


def points_of(mask: np.ndarray, protocol: PromptProtocol) -> list[list[int]]:
    prompt = only_prompt(mask, protocol)
    assert isinstance(prompt, PointPrompt)
    assert prompt.labels.tolist() == [1] * len(prompt.points_xy)
    return prompt.points_xy.astype(int).tolist()


def test_objects_are_shown_where_they_first_appear() -> None:
    frames = [
        (0, label_map(o2=(0, 0, 5, 5))),
        (4, label_map(o2=(3, 3, 9, 9), o7=(20, 10, 30, 20))),
        (9, label_map(o1=(30, 0, 40, 8), o7=(0, 0, 2, 2))),
    ]
    found = prompts_for_video(frames, PromptProtocol(), video="v")
    assert [(frame, object_id) for frame, object_id, _ in found] == [(0, 2), (4, 7), (9, 1)]
    for (frame, object_id, prompt), (_, shown) in zip(found, frames, strict=True):
        assert isinstance(prompt, MaskPrompt)
        np.testing.assert_array_equal(prompt.mask, shown == object_id, err_msg=str(frame))


def test_objects_of_one_frame_come_by_id_and_can_be_chosen() -> None:
    frames = [(3, label_map(o9=(0, 0, 5, 5), o4=(8, 0, 9, 9), o1=(20, 10, 30, 20)))]
    found = prompts_for_video(frames, PromptProtocol(kind="box"), video="v", object_ids={9, 4, 8})
    assert [(frame, object_id) for frame, object_id, _ in found] == [(3, 4), (3, 9)]
    assert list(first_appearances(frames)) == [1, 4, 9]


def test_nothing_to_show_is_an_error_that_names_the_video() -> None:
    with pytest.raises(InputError, match=r"one of the objects \[5\] in the label maps of video 'seq_2', got none"):
        prompts_for_video([(0, label_map(o1=(0, 0, 2, 2)))], PromptProtocol(), video="seq_2", object_ids=[5])


def test_interior_is_farthest_from_the_boundary_and_the_border_is_one() -> None:
    # A block at the image's left border: its middle is half a width from there too.
    assert interior_point(label_map(o1=(0, 0, 11, 11)) > 0) == (5, 5)
    # A fat head on a long tail: the head wins.
    mask = (label_map(o1=(1, 1, 8, 8)) > 0) | (label_map(o1=(8, 4, 40, 6)) > 0)
    assert interior_point(mask) == (4, 4)
    assert centroid_point(mask) != (4, 4)


def test_centroid_is_a_pixel_of_the_object_even_where_the_middle_is_a_hole() -> None:
    mask = (label_map(o1=(10, 5, 21, 16)) > 0) & ~(label_map(o1=(12, 7, 19, 14)) > 0)
    x, y = centroid_point(mask)
    assert mask[y, x]
    assert abs(x - 15) + abs(y - 10) == 4


def test_five_points_of_a_square_are_its_middle_and_corners() -> None:
    mask = label_map(o1=(10, 4, 21, 15)) > 0
    for first in ("interior", "centroid"):
        points = points_of(mask, PromptProtocol(kind="points", first_point=first))
        assert points[0] == [15, 9]
        assert sorted(points[1:]) == [[10, 4], [10, 14], [20, 4], [20, 14]]
        assert points_of(mask, PromptProtocol(kind="point", first_point=first)) == points[:1]


def test_an_object_of_three_pixels_gets_three_points() -> None:
    mask = label_map(o1=(4, 4, 7, 5)) > 0
    assert sorted(points_of(mask, PromptProtocol(kind="points"))) == [[4, 4], [5, 4], [6, 4]]


def test_a_box_is_tight_and_holds_a_single_pixel() -> None:
    prompt = only_prompt(label_map(o1=(7, 3, 8, 4)), PromptProtocol(kind="box"))
    assert isinstance(prompt, BoxPrompt)
    assert prompt.box_xyxy.tolist() == [7, 3, 8, 4]


def test_shifted_boxes_depend_on_seed_video_and_object_alone() -> None:
    frames = [(0, label_map(o1=(5, 5, 15, 15), o2=(20, 5, 30, 15)))]

    def boxes(seed: int, video: str, object_ids: set[int] | None = None) -> dict[int, tuple[float, ...]]:
        protocol = PromptProtocol(kind="box", box_jitter=0.2, seed=seed)
        found = prompts_for_video(frames, protocol, video=video, object_ids=object_ids)
        return {object_id: tuple(prompt.box_xyxy.tolist()) for _, object_id, prompt in found}  # type: ignore[union-attr]

    first = boxes(0, "a")
    assert boxes(0, "a") == first
    assert boxes(0, "a", {2}) == {2: first[2]}
    assert len({first[1], boxes(1, "a")[1], boxes(0, "b")[1]}) == 3
    assert first[2] != tuple(np.add(first[1], (15, 0, 15, 0)))
    for x0, y0, x1, y1 in (first[1], boxes(1, "a")[1]):
        assert np.abs(np.subtract((x0, y0, x1, y1), (5, 5, 15, 15))).max() <= 2


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.49), st.sampled_from(["mask", "point", "points", "box"]))
@settings(max_examples=60, deadline=None)
def test_every_prompt_fits_its_image_and_lies_on_its_object(seed: int, jitter: float, kind: str) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(HW) < rng.uniform(0.002, 0.9)
    mask[int(rng.integers(HW[0])), int(rng.integers(HW[1]))] = True
    protocol = PromptProtocol(kind=kind, box_jitter=jitter, seed=seed % 7)  # type: ignore[arg-type]
    prompt = only_prompt(mask, protocol)
    check_prompt_fits(prompt, HW)
    if isinstance(prompt, PointPrompt):
        xs, ys = prompt.points_xy.astype(int).T
        assert mask[ys, xs].all()
        assert len({*zip(xs, ys, strict=True)}) == len(xs) == min(1 if kind == "point" else 5, int(mask.sum()))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_farthest_points_keep_farther_apart_than_any_pixel_is_from_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(HW) < 0.3
    mask[0, 0] = True
    points = farthest_points(mask, (0, 0), 6).astype(float)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)[~np.eye(len(points), dtype=bool)].min()
    pixels = np.argwhere(mask)[:, ::-1]
    reach = np.linalg.norm(pixels[:, None] - points[None], axis=2).min(axis=1).max()
    assert reach <= apart


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        ({"kind": "scribble"}, "mask, point, points or box, got 'scribble'"),
        ({"first_point": "middle"}, "interior or centroid, got 'middle'"),
        ({"num_points": 0}, "num_points >= 1"),
        ({"box_jitter": 0.5}, "box_jitter in 0..0.5"),
        ({"seed": -1}, "seed >= 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings_: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("..", r"\.\.")):
        PromptProtocol(**settings_)
