"""Workers on a Ray cluster: actors that hold a model, one per device. Ray places, restarts and retries them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

from surgvos.batch.attempt import DIED, MAX_ATTEMPTS, attempt
from surgvos.batch.events import Advanced, Event, Failed, Finished, Lost, Refused, Started, Tell
from surgvos.batch.job import SegmentJob, VideoTask
from surgvos.batch.segmenter import Segmenter
from surgvos.errors import InputError, MissingExtraError, SurgvosError

LOCAL = "local"

NOBODY_LEFT = "no worker was left to begin with it; Ray's logs say what they died of"

_SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True, slots=True)
class RayWorkers:
    """A `Runner` on Ray; a video goes to whichever actor is free, and that of an actor that dies is retried once.

    All machines must see videos, weights and the output folder under the same paths.

    Attributes:
        address: Of a cluster as ``ray.init`` takes it (``auto``, ``ray://head:10001``), or ``local``, which starts one
            on this machine for as long as it takes.
        num_workers: Actors; None is one for each GPU of the cluster, or for each of its machines where it has none.
    """

    address: str
    num_workers: int | None = None

    def __call__(self, job: SegmentJob, tasks: Sequence[VideoTask], tell: Tell) -> None:
        ray = _connect(self.address)
        from ray.exceptions import RayActorError
        from ray.util import ActorPool
        from ray.util.queue import Queue

        try:
            queue = Queue(actor_options={"num_cpus": 0})
            share = _Share.of(ray, job, self.num_workers, len(tasks))
            worker = ray.remote(_RayWorker).options(
                num_cpus=share.num_cpus,
                num_gpus=share.num_gpus,
                max_restarts=-1,
                max_task_retries=MAX_ATTEMPTS - 1,
            )
            num_threads = max(1, int(share.num_cpus))
            pool = ActorPool([worker.remote(number, job, num_threads) for number in range(share.num_workers)])
            for task in tasks:
                pool.submit(lambda actor, task: actor.segment.remote(task, queue), task)
            told = _Account(tell)
            while pool.has_next():
                try:
                    pool.get_next_unordered(timeout=_SECONDS_BETWEEN_LOOKS)
                except TimeoutError:
                    pass  # nobody is done: time to hear how far they are
                except RayActorError:
                    pass  # died over one video as often as may be: nothing will be told of its end
                for event in queue.get_nowait_batch(queue.qsize()):
                    told.hear(event)
            told.close(tasks)
        finally:
            ray.shutdown()


@dataclass(frozen=True, slots=True)
class _Share:
    """What each actor gets of a cluster."""

    num_workers: int
    num_cpus: float
    num_gpus: float

    @classmethod
    def of(cls, ray: Any, job: SegmentJob, num_workers: int | None, num_tasks: int) -> _Share:
        """Shares that fit side by side, so that no actor waits for ever for its place."""
        gpus = 0 if job.device == "cpu" else int(ray.cluster_resources().get("GPU", 0))
        cpus = [cpus for node in ray.nodes() if node["Alive"] and (cpus := node["Resources"].get("CPU", 0))]
        num_workers = min(num_workers or gpus or len(cpus), num_tasks)
        if gpus:
            return cls(num_workers, num_cpus=1, num_gpus=1 / ceil(num_workers / gpus))
        share = min(cpus) / ceil(num_workers / len(cpus))
        return cls(num_workers, num_cpus=floor(share) or share, num_gpus=0)


class _Account:
    """What has been told of each video, so that of each there is one end.

    Args:
        tell: Told in turn.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._begun: dict[str, int] = {}
        self._ended: set[str] = set()

    def hear(self, event: Event) -> None:
        """Pass on what an actor tells; a video that starts for the second time was lost in between."""
        if not isinstance(event, Refused):
            if event.video in self._ended:
                return  # its actor died between telling and returning
            if isinstance(event, Started):
                if event.video in self._begun:
                    self._tell(Lost(event.video, self._begun[event.video]))
                self._begun[event.video] = event.worker
            if isinstance(event, Finished | Failed):
                self._ended.add(event.video)
        self._tell(event)

    def close(self, tasks: Sequence[VideoTask]) -> None:
        """Nobody works any more: what has no end by now has failed."""
        for task in tasks:
            if task.name not in self._ended:
                reason = DIED if task.name in self._begun else NOBODY_LEFT
                self._tell(Failed(task.name, self._begun.get(task.name, 0), reason))


class _RayWorker:
    """An actor that holds a model."""

    def __init__(self, number: int, job: SegmentJob, num_threads: int) -> None:
        import torch

        torch.set_num_threads(num_threads)
        self._number = number
        self._segmenter = Segmenter(job)

    def segment(self, task: VideoTask, queue: Any) -> None:
        """Segment a video; what happens goes into the queue."""
        told_at = 0.0

        def tell(event: Event) -> None:
            nonlocal told_at
            if isinstance(event, Advanced):
                if time.monotonic() - told_at < _SECONDS_BETWEEN_LOOKS:
                    return  # nobody looks at it so often
                told_at = time.monotonic()
            queue.put(event)

        try:
            self._segmenter.load()
        except SurgvosError as error:
            queue.put(Refused(error))
        else:
            attempt(self._segmenter, task, self._number, tell)


def _connect(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("expected Ray for --ray, got none; try pip install 'surgvos[ray]'") from error
    settings: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        token = "; where the cluster wants a token, try RAY_AUTH_MODE=token" if "://" in address else ""
        raise InputError(
            f"expected the address of a Ray cluster, auto or local, got {address!r} "
            f"({str(error).splitlines()[0]}){token}"
        ) from error
    return ray
