"""Many endpoints asked at the same time by a bounded pool of threads, so that a run takes as long as the slowest one.

Threads only wait for the network. What has come is handed back, in the order in which it comes, to the thread of the
run, which parses and submits: there is one processor for Python code anyway, and nothing else has to be safe for
threads.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import InternalSignal
from .transport import Transport

TICK = 0.1
"""Seconds between two looks whether something has come to its end."""

LINGER = 2.0
"""Seconds that `close` waits for the threads. What they wait for is cut, unless it is a connection being opened."""


class Expired(InternalSignal):
    """A job's time was over before its work was done."""


@dataclass(eq=False, slots=True)
class Job:
    """Something to do with a requests wrapper, within `seconds`.

    It begins `after` that many seconds of a run. `result` is what `work` gave and `problem` what it raised. `deadline`
    is when its time is over, by the monotonic clock, None until it has begun; `expired` says that it was cut off then.
    """

    name: str
    work: Callable[[Any, float], Any]
    seconds: float
    after: float = 0.0
    result: Any = None
    problem: Exception | None = None
    deadline: float | None = None
    expired: bool = False
    run: _PoolRun | None = field(default=None, repr=False)


class _PoolRun:
    """Jobs whose results somebody waits for. What they bring is held in memory, so there is `room` for some."""

    def __init__(self, room: int) -> None:
        self.done: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.room = threading.Semaphore(room)
        self.over = False


class WorkerPool:
    """Up to `size` threads, started when there is work for them, which end with `close`."""

    def __init__(self, transport: Transport, size: int, name: str = "model-serving") -> None:
        self.transport = transport
        self.size = size
        self.name = name
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open = 0
        self._busy: dict[int, Job] = {}
        self._tasks: queue.SimpleQueue[Job | None] = queue.SimpleQueue()

    def run(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Do jobs, and yield each one when it is done. Ends early when the pool is closed."""
        run = _PoolRun(2 * self.size)
        waiting = deque(sorted(jobs, key=lambda job: job.after))
        left = len(waiting)
        began = time.monotonic()
        try:
            while left and not self.closed.is_set():
                # What goes on in the background has a deadline as well.
                wait = self._expire()
                passed = time.monotonic() - began
                while waiting and waiting[0].after <= passed:
                    job = waiting.popleft()
                    job.run = run
                    self._add(job)
                if waiting:
                    wait = min(wait, waiting[0].after - passed)
                try:
                    job = run.done.get(timeout=wait)
                except queue.Empty:
                    continue
                if self.closed.is_set():
                    # It may have failed because of that.
                    return
                left -= 1
                yield job
                run.room.release()
        finally:
            run.over = True

    def run_in_background(self, job: Job) -> None:
        """Do a job that nobody waits for."""
        self._add(job)

    def close(self) -> None:
        """End all threads and connections, whatever they are waiting for."""
        self.closed.set()
        with self._lock:
            threads = list(self._threads)
            for _ in threads:
                self._tasks.put(None)
        self.transport.close()
        until = time.monotonic() + LINGER
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        self.transport.close()

    def _add(self, job: Job) -> None:
        with self._lock:
            if self.closed.is_set():
                return
            self._tasks.put(job)
            self._open += 1
            # A copy of the process that `fork` has made is without the threads.
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) < min(self.size, self._open):
                name = f"{self.name}-{len(self._threads) + 1}"
                thread = threading.Thread(target=self._thread, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _thread(self) -> None:
        http: Any = None
        me = threading.get_ident()
        while (job := self._tasks.get()) is not None:
            wanted = self._wanted(job)
            with self._lock:
                job.deadline = time.monotonic() + job.seconds
                self._busy[me] = job
                self.transport.cuts.begin()
            try:
                if wanted:
                    http = self.transport.wrapper() if http is None or not self.transport.keep else http
                    job.result = job.work(http, job.deadline)
            except Exception as error:
                job.problem = Expired() if job.expired else error
            finally:
                with self._lock:
                    del self._busy[me]
                    self._open -= 1
                    self.transport.cuts.use(None)
            if job.run is not None:
                job.run.done.put(job)

    def _wanted(self, job: Job) -> bool:
        """Wait until there is room for what a job brings. False where nobody waits for that any more."""
        while not self.closed.is_set():
            if job.run is None:
                return True
            if job.run.over:
                return False
            if job.run.room.acquire(timeout=TICK):
                return True
        return False

    def _expire(self) -> float:
        """Cut what is beyond its deadline, and give the seconds until the next one."""
        now = time.monotonic()
        wait = TICK
        with self._lock:
            for thread, job in self._busy.items():
                if job.deadline is not None and now >= job.deadline:
                    job.expired = True
                    self.transport.cuts.cut(thread)
                elif job.deadline is not None:
                    wait = min(wait, job.deadline - now)
        return wait
