"""Tokens of an image in the order of attention windows.

All layers but attention treat tokens alone, so a trunk can keep them window by window from block to block, and cut
windows without copying.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from surgvos.models.sam2.position import memoised_table


@dataclass(frozen=True, slots=True)
class WindowGroup:
    """Windows of one size that follow each other in the order of tokens.

    Attributes:
        start: First token.
        stop: One past the last token.
        height: Of each window.
        width: Of each window.
        num_missing: Tokens by which each window is smaller than a whole one.
    """

    start: int
    stop: int
    height: int
    width: int
    num_missing: int

    def split(self, tokens: Tensor) -> Tensor:
        """Cut the group's windows out of ``(N, T, ...)``: ``(N, windows, height * width, ...)``."""
        return tokens[:, self.start : self.stop].unflatten(1, (-1, self.height * self.width))


@dataclass(frozen=True, slots=True)
class WindowLayout:
    """An order of a grid's tokens: window by window, rows first within a window; windows of one size together.

    Windows that the border cuts are smaller; so there are up to four sizes.

    Attributes:
        window: Side of a whole window.
        height: Of the grid.
        width: Of the grid.
    """

    window: int
    height: int
    width: int

    def groups(self) -> Iterator[WindowGroup]:
        """Go through the sizes of windows in order."""
        start = 0
        for top, bottom, height in _spans(self.height, self.window):
            for left, right, width in _spans(self.width, self.window):
                stop = start + (bottom - top) * (right - left)
                yield WindowGroup(start, stop, height, width, self.window**2 - height * width)
                start = stop

    def from_grid(self, tokens: Tensor) -> Tensor:
        """Bring ``(N, T, C)`` from row-major order into this one."""
        return tokens[:, _order(self.window, self.height, self.width, tokens.device)]

    def to_grid(self, tokens: Tensor) -> Tensor:
        """Bring ``(N, T, C)`` from this order onto the grid: ``(N, C, h, w)``, channels last in memory."""
        inverse = _inverse_order(self.window, self.height, self.width, tokens.device)
        return tokens[:, inverse].unflatten(1, (self.height, self.width)).permute(0, 3, 1, 2)

    def reorder(self, tokens: Tensor, other: WindowLayout) -> Tensor:
        """Bring ``(N, T, C)`` from this order into another one of the same grid."""
        inverse = _inverse_order(self.window, self.height, self.width, tokens.device)
        return tokens[:, inverse[_order(other.window, other.height, other.width, tokens.device)]]

    def num_bands(self, num_tokens: int) -> int:
        """Into how many equal bands of whole windows the grid can be cut, of at least so many tokens each."""
        if self.height % self.window or self.width % self.window:
            return 1
        num_rows = self.height // self.window
        wanted = max(1, self.height * self.width // num_tokens)
        return max(number for number in range(1, num_rows + 1) if num_rows % number == 0 and number <= wanted)

    def halved(self) -> WindowLayout:
        """The layout after `pool`."""
        return WindowLayout(self.window // 2, self.height // 2, self.width // 2)

    def pool(self, tokens: Tensor) -> Tensor:
        """Take the maximum over cells of 2x2: ``(N, T, C)`` to ``(N, T / 4, C)`` in the order of `halved`.

        Windows and grids have even sides wherever tokens are pooled, so that no cell straddles two windows.
        """
        pooled = []
        for group in self.groups():
            x = tokens[:, group.start : group.stop].unflatten(1, (-1, 2, group.width // 2, 2))
            x = torch.maximum(x[:, :, :, :, 0], x[:, :, :, :, 1])
            pooled.append(torch.maximum(x[:, :, 0], x[:, :, 1]).flatten(1, 2))
        return torch.cat(pooled, dim=1) if len(pooled) > 1 else pooled[0]


def _spans(size: int, window: int) -> Iterator[tuple[int, int, int]]:
    """Cut an axis into whole windows and what is left: (start, stop, side of the windows between them)."""
    whole = size - size % window
    if whole:
        yield 0, whole, window
    if whole < size:
        yield whole, size, size - whole


@memoised_table
def _order(window: int, height: int, width: int, device: torch.device) -> Tensor:
    """Row-major index of each token of a layout."""
    index = torch.arange(height * width, device=device).view(height, width)
    parts = []
    for top, bottom, side_h in _spans(height, window):
        for left, right, side_w in _spans(width, window):
            tile = index[top:bottom, left:right].unflatten(1, (-1, side_w)).unflatten(0, (-1, side_h))
            parts.append(tile.transpose(1, 2).flatten())
    return torch.cat(parts)


@memoised_table
def _inverse_order(window: int, height: int, width: int, device: torch.device) -> Tensor:
    """Place of each row-major token in a layout."""
    return _order(window, height, width, device).argsort()
