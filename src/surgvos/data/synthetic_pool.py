"""Synthetic clips, each drawn once and served several times."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from surgvos.data.synthetic import SceneConfig, SyntheticClip, generate_clip


class ClipPool:
    """Clips among which each serving is drawn; the pool slides on by one clip every ``reuse`` servings.

    Which clip is served is a function of the seed, the serving and what is drawn; clips themselves are only cached.

    Args:
        scene: What a clip contains.
        seed: Of all clips.
        reuse: How often a clip is served, on average.
        size: Clips of the pool.
        num_streams: Independent pools: one per data worker, so that none draws another's clips.
    """

    def __init__(self, scene: SceneConfig, seed: tuple[int, ...], *, reuse: int, size: int, num_streams: int) -> None:
        self.scene, self.seed, self.reuse, self.size, self.num_streams = scene, seed, reuse, size, num_streams
        self._cache: OrderedDict[tuple[int, int], SyntheticClip] = OrderedDict()

    def draw(self, stream: int, serving: int, rng: np.random.Generator) -> SyntheticClip:
        """Draw the clip of a serving of a stream."""
        key = (stream, serving // self.reuse + int(rng.integers(self.size)))
        if key not in self._cache:
            state = np.random.SeedSequence((*self.seed, *key)).generate_state(1, np.uint64)
            self._cache[key] = generate_clip(int(state[0]), self.scene)
            if len(self._cache) > self.size * self.num_streams:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]
