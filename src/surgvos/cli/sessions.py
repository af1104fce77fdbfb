"""From the options of a model to sessions beside which a page or a picture goes on."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from surgvos.cli.segment_options import ModelOptions

if TYPE_CHECKING:
    from surgvos.tracking.answering import SessionOptions
    from surgvos.tracking.searching import SearchOptions
    from surgvos.tracking.session import Session


def load_sessions(
    network: ModelOptions, search: SearchOptions | None = None, *, refine: bool = True
) -> Callable[..., Session]:
    """Load a model, and return what makes sessions with it; it takes the options of a `Session`, or none.

    Args:
        network: What the user said.
        search: How phrases are looked for.
        refine: See `SessionOptions`; where the user did not say.
    """
    from surgvos.models.backends import use_backend
    from surgvos.models.devices import spare_a_core
    from surgvos.models.registry import load_model
    from surgvos.tracking.answering import SessionOptions
    from surgvos.tracking.session import Session

    model = load_model(network.model, device=network.device, dtype=network.dtype, image_size=network.size)
    use_backend(model, network.backend)
    spare_a_core(next(model.parameters()).device)

    def new_session(options: SessionOptions | None = None) -> Session:
        options = replace(options or SessionOptions(), refine=network.refines(by_default=refine))
        return Session(model, network.memory, options, search)

    new_session()  # a wrong name of a policy is said before anything runs
    # What is loaded by now stays: to look through all of it for rubbish would hold the picture for a tenth of a second.
    gc.collect()
    gc.freeze()
    return new_session
