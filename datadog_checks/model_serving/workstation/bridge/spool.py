"""What is not delivered yet, and what checks must remember, in one SQLite file.

What a run gave and what its check remembers are written in one transaction, so that a process that dies at any moment
leaves either both or neither: the next one goes on from there. Every transaction is on the disk before `write` returns.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...errors import SpoolError

VERSION = 1

JOURNAL_BYTES = 8 * 1024 * 1024

_SCHEMA = """
CREATE TABLE cache (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE totals (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    time REAL NOT NULL,
    points INTEGER NOT NULL,
    length INTEGER NOT NULL,
    size INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    body BLOB NOT NULL
);
CREATE INDEX by_kind ON batches (kind, position, id);
CREATE INDEX by_position ON batches (position, id);
"""


class NewBatch(NamedTuple):
    """Something to deliver: `body` is JSON items of one `kind`, of which the oldest is of `time`, in epoch seconds.

    `points` is how many points it holds, `length` how many characters they are when they are sent.
    """

    kind: str
    time: float
    points: int
    length: int
    body: str


class _Packed(NamedTuple):
    kind: str
    time: float
    points: int
    length: int
    body: bytes


def _packed(batch: NewBatch) -> _Packed:
    return _Packed(*batch[:4], zlib.compress(batch.body.encode(), level=1))


@dataclass(frozen=True, slots=True)
class SpooledBatch:
    """A batch in the spool. `tries` counts the times that it has been on its way without a known outcome; `position`
    is its place in the order, which the parts of one that was split share.
    """

    id: int
    position: int
    kind: str
    time: float
    points: int
    tries: int
    body: str


class Held(NamedTuple):
    """What the spool holds: batches, their bytes, and the time of the oldest, None where there is none."""

    batches: int
    bytes: int
    oldest: float | None


class Spool:
    """The file at `path`, which one process may use at a time, from any of its threads.

    Batches beyond `max_bytes` push out the oldest. Raises SpoolError where the file can't be used.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # It is made here, so that nobody else may read it.
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            self._file = os.fstat(file)
            os.close(file)
            self._database = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SpoolError(f"the spool {path} can't be opened: {reason}. Name another file in `spool.path`") from None
        try:
            self._open()
        except BaseException:
            self._database.close()
            raise
        self._bytes = int(self._value("SELECT COALESCE(SUM(size), 0) FROM batches"))

    def _open(self) -> None:
        try:
            # Held until the process ends, whatever its end is.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA auto_vacuum = FULL")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
            self._database.execute("BEGIN EXCLUSIVE")
            version = self._value("PRAGMA user_version")
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA user_version = {VERSION}")
            self._database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise SpoolError(
                    f"the spool {self.path} is in use by another process: a bridge runs already. Stop that one, or "
                    "give this one another `spool.path`, and other instances"
                ) from None
            raise self._unusable(error) from None
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        if version not in (0, VERSION):
            raise SpoolError(f"the spool {self.path} is of another version of the bridge: name another `spool.path`")

    def _unusable(self, error: Exception) -> SpoolError:
        return SpoolError(
            f"the spool {self.path} can't be used ({error}): move the file away, and what was not delivered with it, "
            "or name another in `spool.path`"
        )

    def check(self) -> None:
        """Raise SpoolError where the file is no longer in its place: it would not be found by the next process."""
        with suppress(OSError):
            if os.path.samestat(self._file, self.path.stat()):
                return
        raise SpoolError(
            f"the spool {self.path} was removed or replaced while it is in use: what is delivered goes on, but is lost "
            "with what was counted when the bridge ends. Stop the bridge and start it again"
        )

    def close(self) -> None:
        """Give the file free."""
        with self._lock:
            self._database.close()

    def read(self, key: str) -> str:
        """What a check has kept under a key, empty where that is nothing."""
        with self._reading():
            row = self._database.execute("SELECT value FROM cache WHERE key = ?", (key,)).fetchone()
        return row[0] if row else ""

    def write(
        self,
        remembered: Mapping[str, str],
        batches: Iterable[NewBatch] = (),
        totals: Mapping[str, float] | None = None,
        taken: Mapping[str, float] | None = None,
    ) -> None:
        """Keep what a check remembers, and what its run gave, both or neither.

        `totals` are added to those that `totals` tells, `taken` are subtracted. Raises SpoolError where the disk is
        full or fails: nothing was kept then.
        """
        packed = [_packed(batch) for batch in batches]
        with self._changing():
            self._database.executemany("INSERT OR REPLACE INTO cache VALUES (?, ?)", remembered.items())
            for batch in packed:
                self._insert(batch)
            self._add(totals or {})
            self._add({name: -value for name, value in (taken or {}).items()})
            self._shrink()

    def oldest(self, kind: str, most: int) -> list[SpooledBatch]:
        """The first batches of a kind, of `most` characters or a single one, all tried as often as the first."""
        found: list[SpooledBatch] = []
        with self._reading():
            rows = self._database.execute(
                "SELECT id, position, time, points, tries, length, body FROM batches WHERE kind = ? "
                "ORDER BY position, id",
                (kind,),
            )
            for number, position, time, points, tries, length, body in rows:
                most -= length
                if found and (most < 0 or tries != found[0].tries):
                    break
                text = zlib.decompress(body).decode()
                found.append(SpooledBatch(number, position, kind, time, points, tries, text))
            rows.close()
        return found

    def set_tries(self, batches: Iterable[SpooledBatch], tries: int, totals: Mapping[str, float] | None = None) -> None:
        """Remember how often batches have been on their way."""
        with self._changing():
            self._database.executemany(
                "UPDATE batches SET tries = ? WHERE id = ?", [(tries, batch.id) for batch in batches]
            )
            self._add(totals or {})

    def remove(self, batches: Iterable[SpooledBatch], totals: Mapping[str, float]) -> None:
        """Forget batches, and count what became of them: also of those that were pushed out while on their way."""
        with self._changing():
            for batch in batches:
                if not self._remove(batch.id):
                    self._add(dropped(batch.kind, "spool_full", -batch.points))
            self._add(totals)

    def split(self, batch: SpooledBatch, parts: Sequence[NewBatch]) -> None:
        """Put parts of a batch into its place, unless it was pushed out."""
        with self._changing():
            for part in parts if self._remove(batch.id) else ():
                self._insert(_packed(part), batch.position, batch.tries)

    def held(self) -> Held:
        """What waits for delivery."""
        with self._reading():
            count, oldest = self._database.execute("SELECT COUNT(*), MIN(time) FROM batches").fetchone()
            return Held(count, self._bytes, oldest)

    def totals(self) -> dict[str, float]:
        """What has become of points since they were last reported."""
        with self._reading():
            return dict(self._database.execute("SELECT name, value FROM totals WHERE value != 0"))

    def _value(self, query: str) -> int:
        return int(self._database.execute(query).fetchone()[0])

    def _insert(self, batch: _Packed, position: int | None = None, tries: int = 0) -> None:
        cursor = self._database.execute(
            "INSERT INTO batches (position, kind, time, points, length, size, tries, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (position or 0, batch.kind, batch.time, batch.points, batch.length, len(batch.body), tries, batch.body),
        )
        if position is None:
            self._database.execute("UPDATE batches SET position = id WHERE id = ?", (cursor.lastrowid,))
        self._bytes += len(batch.body)

    def _remove(self, number: int) -> bool:
        """Forget a batch. Returns whether it was there."""
        row = self._database.execute("SELECT size FROM batches WHERE id = ?", (number,)).fetchone()
        self._database.execute("DELETE FROM batches WHERE id = ?", (number,))
        self._bytes -= row[0] if row else 0
        return row is not None

    def _shrink(self) -> None:
        """Make room: the oldest go."""
        while self._bytes > self.max_bytes:
            row = self._database.execute(
                "SELECT id, kind, points FROM batches ORDER BY position, id LIMIT 1"
            ).fetchone()
            if row is None:
                return
            self._remove(row[0])
            self._add(dropped(row[1], "spool_full", row[2]))

    def _add(self, totals: Mapping[str, float]) -> None:
        self._database.executemany(
            "INSERT INTO totals VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            totals.items(),
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except (sqlite3.Error, zlib.error) as error:
                raise self._unusable(error) from None

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            before = self._bytes
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield
                self._database.execute("COMMIT")
            except BaseException as error:
                self._bytes = before
                with suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise SpoolError(
                        f"the spool {self.path} can't be written ({error}): make room on its disk, or name another "
                        "file in `spool.path`"
                    ) from None
                raise


def dropped(kind: str, reason: str, points: int) -> Counter[str]:
    """The total of points of a kind that were dropped for a reason."""
    return Counter({f"dropped {kind} {reason}": points})
