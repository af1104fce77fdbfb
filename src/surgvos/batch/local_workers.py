"""Processes of this machine that share videos, each with a model of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import NoReturn

from surgvos.batch.attempt import DIED, MAX_ATTEMPTS, attempt
from surgvos.batch.events import Event, Failed, Finished, Lost, Refused, Tell
from surgvos.batch.job import SegmentJob, VideoTask
from surgvos.batch.segmenter import Segmenter
from surgvos.errors import SurgvosError
from surgvos.models.devices import spread_over_devices

_SECONDS_TO_STOP = 30.0


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """A `Runner`: a video goes to whichever process is free, and that of a process that dies once more to a new one.

    Attributes:
        num_workers: Processes; they share the accelerators of the machine, and the threads of its CPU.
    """

    num_workers: int

    def __call__(self, job: SegmentJob, tasks: Sequence[VideoTask], tell: Tell) -> None:
        num_workers = min(self.num_workers, len(tasks))
        devices = spread_over_devices(job.device, num_workers)
        num_threads = max(1, num_processors() // num_workers)
        crew = [_Worker(number, replace(job, device=device), num_threads) for number, device in enumerate(devices)]
        waiting, deaths = deque(tasks), Counter[str]()
        try:
            while waiting or any(worker.task for worker in crew):
                for worker in crew:
                    if worker.task is None and waiting:
                        worker.take(waiting.popleft())
                for worker in _heard(crew):
                    task, event = worker.task, worker.hear()
                    if event is not None:
                        tell(event)
                        continue
                    assert task is not None
                    deaths[task.name] += 1
                    if deaths[task.name] < MAX_ATTEMPTS:
                        waiting.appendleft(task)
                        tell(Lost(task.name, worker.number))
                    else:
                        tell(Failed(task.name, worker.number, DIED))
        finally:
            for worker in crew:
                worker.stop()


def num_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """A process, seen from the one that shares out the work. It is started when it first has something to do.

    Attributes:
        number: From 0.
        task: What it is doing; None while it is free.
    """

    def __init__(self, number: int, job: SegmentJob, num_threads: int) -> None:
        self.number = number
        self.task: VideoTask | None = None
        self.connection: Connection | None = None
        self._job, self._num_threads = job, num_threads

    def take(self, task: VideoTask) -> None:
        """Give it a video."""
        if self.connection is None:
            self.connection = self._start()
        self.task = task
        with suppress(OSError):  # it has died while it was free, which `hear` will find out
            self.connection.send(task)

    def hear(self) -> Event | None:
        """What it tells next; None is its death. Either way it is free afterwards when its video has come to an end."""
        assert self.connection is not None
        try:
            event: Event = self.connection.recv()
        except (EOFError, OSError):
            self.connection = self.task = None
            self._process.join()
            return None
        if isinstance(event, Finished | Failed):
            self.task = None
        return event

    def stop(self) -> None:
        """End it; what it has done of its video can be gone on with."""
        if self.connection is None:
            return
        self._process.terminate()
        self._process.join(_SECONDS_TO_STOP)
        self._process.kill()

    def _start(self) -> Connection:
        # A forked process can use no accelerator that this one has touched.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, self.number, self._job, self._num_threads), daemon=True
        )
        self._process.start()
        theirs.close()  # so that its death closes the last one
        return ours


def _heard(crew: Sequence[_Worker]) -> list[_Worker]:
    """Wait until busy workers tell something, or die; which ones."""
    ready = wait([worker.connection for worker in crew if worker.connection is not None and worker.task is not None])
    return [worker for worker in crew if worker.connection in ready]


def _work(connection: Connection, number: int, job: SegmentJob, num_threads: int) -> None:
    """What a worker's process does, until it is stopped."""
    import torch

    # Ctrl-C goes to all processes; what it means is for the first one to decide, which then terminates this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(num_threads)
    try:
        segmenter = Segmenter(job)
        try:
            segmenter.load()
        except SurgvosError as error:
            connection.send(Refused(error))
            return
        while True:
            attempt(segmenter, connection.recv(), number, connection.send)
    except (KeyboardInterrupt, EOFError):
        return


def _stop(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """A worker must not go on writing for a caller that was killed: the next one may be at the same video."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
