"""What a search holds, over any history of sightings."""

from __future__ import annotations

import random

import torch

from surgvos.memory import MemoryEntry
from surgvos.referring.search import Candidate, Search
from surgvos.referring.start import CredibleStart, Sighting


def candidate(sighting: Sighting) -> Candidate:
    entry = MemoryEntry(sighting.frame_index, torch.zeros(1), None, sighting.presence, sighting.iou, prompted=True)
    return Candidate(sighting, entry, "the grasper")


def look(search: Search, policy: CredibleStart, sighting: Sighting) -> list[Candidate]:
    """Do what is done in one frame."""
    search.reach(sighting.frame_index, 1)
    run = policy.extend(search.run, sighting)
    search.keep(run, candidate(sighting) if run else None)
    return search.anchors(policy)


def test_a_search_holds_no_more_than_its_window_over_ten_thousand_frames() -> None:
    policy, draw = CredibleStart(), random.Random(0)
    search = Search(("the grasper",), asked_at=0)
    num_starts = 0
    for index in range(10_000):
        anchors = look(search, policy, Sighting(index, draw.choice((0.5, 0.95, 0.99)), draw.choice((0.6, 0.8, 0.9))))
        assert len(search.candidates) <= policy.window
        assert all(index - policy.window < c.sighting.frame_index <= index for c in search.candidates)
        if anchors:
            num_starts += 1
            assert [c.sighting.iou for c in anchors] == [max(c.sighting.iou for c in search.candidates)]
            search.end(index, anchors[0].sighting.frame_index)
            assert search.candidates == ()
            search.begin()
    assert num_starts > 10


def test_only_what_passed_before_the_first_find_is_left_to_fill_in() -> None:
    search = Search(("the grasper",), asked_at=3)
    for index in range(3, 9):
        search.reach(index, 1)
    search.end(8, 6)
    assert (search.found_at, search.unconfirmed) == (6, (3, 8))
    search.unconfirmed = None
    search.begin()
    search.reach(20, 1)
    search.end(25, 22)
    assert (search.found_at, search.unconfirmed) == (6, None)


def test_a_stretch_begins_anew_where_the_video_is_rewound() -> None:
    search = Search(("the grasper",), asked_at=0)
    assert [search.reach(index, 1) for index in (5, 6, 9, 2, 3)] == [5, 5, 5, 2, 2]
    assert [search.reach(index, -1) for index in (1, 0, 8, 7)] == [2, 2, 8, 8]
    search.end(7, 8)
    assert search.unconfirmed == (8, 9)


def test_phrases_are_kept_in_order_and_once() -> None:
    search = Search((), asked_at=0)
    search.add(("the left one", "the grasper"))
    search.add(("the grasper", "the one that is idle"))
    assert search.phrases == ("the left one", "the grasper", "the one that is idle")
    assert search.followed_phrase == "the one that is idle"
