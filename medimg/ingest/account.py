"""Where each file seen has gone: kept on disk, so that memory does not grow with the number of files.

One SQLite file below ``.medimg/``. Its table ``file`` outlives the run: what was read of a file is not read again while
path, size, time and first bytes stay the same, so a run that was killed is finished by the next. All other tables are
the run's own. Nothing that decides an output is only here: without the file, everything is read once more.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from medimg.errors import DataError, Refusal
from medimg.files import sha256
from medimg.ingest.found import Reading, Row

_ABOUT = "CREATE TABLE IF NOT EXISTS about (version TEXT);"
_LASTING = """
CREATE TABLE IF NOT EXISTS file (
    path TEXT PRIMARY KEY, size INTEGER, time INTEGER, head TEXT,
    fate TEXT, code TEXT, detail TEXT, sha256 TEXT, row TEXT, instance TEXT,
    chance INTEGER, thumbnail TEXT
);
"""
_RUN = """
CREATE TEMP TABLE seen (path TEXT PRIMARY KEY, size INTEGER, time INTEGER, head TEXT) WITHOUT ROWID;
CREATE TEMP TABLE member (path TEXT, sample TEXT, PRIMARY KEY (path, sample)) WITHOUT ROWID;
CREATE INDEX temp.members ON member (sample);
CREATE TEMP TABLE sample (sample TEXT PRIMARY KEY, path TEXT, patient TEXT, site TEXT, label TEXT, row TEXT,
    pictured TEXT, thumbnail TEXT);
CREATE TEMP TABLE refusal (path TEXT PRIMARY KEY, code TEXT, detail TEXT) WITHOUT ROWID;
CREATE TEMP TABLE mask (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE vouched (path TEXT PRIMARY KEY, sha256 TEXT, batch INTEGER) WITHOUT ROWID;
"""
_CHANCE = (Refusal.CRASHED, Refusal.TIMEOUT, Refusal.MEMORY, Refusal.UNREADABLE)  # may end otherwise another time
_PAGE = 1000
_CACHE = 32768  # KiB
_PRAGMAS = (
    "page_size=8192",  # for rows of two kilobytes
    *("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL"),
    *(f"cache_size=-{_CACHE}", f"temp.cache_size=-{_CACHE}"),
)


class Account:
    """The account of one run. Rows pass through as JSON; every iterator reads page by page."""

    def __init__(self, path: Path, version: str) -> None:
        """Open the journal at ``path``; what another ``version`` of the code has read is forgotten."""
        self._refused = False
        self._samples: list[tuple[object, ...]] = []
        self._members: list[tuple[str, str]] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self.database = sqlite3.connect(path, isolation_level=None)
        for pragma in _PRAGMAS:
            self.database.execute(f"PRAGMA {pragma}").fetchone()
        if self.database.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("damaged")
        self.database.execute(_ABOUT)
        if self.rows("SELECT version FROM about") != [(version,)]:
            with self.writing():
                self.database.execute("DROP TABLE IF EXISTS file")  # its columns may be others now
                self.database.execute("DELETE FROM about")
                self.database.execute("INSERT INTO about VALUES (?)", [version])
        self.database.executescript(_LASTING + _RUN)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All that the block writes, at once or not at all."""
        self.database.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")

    def close(self) -> None:
        """Close the journal."""
        self.database.close()

    # Files

    def see(self, files: Iterable[tuple[str, int, int, str]]) -> int:
        """Take these for the files that are there: path, and size, time and head of each stamp, by which it is known.

        One that is not remembered under its stamp is to be read; one that is gone is forgotten, unless all are.

        Returns:
            how many there are.
        """
        with self.writing():
            count = self.database.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", files).rowcount
            if not count:  # a disk that is not mounted, perhaps
                return 0
            self.database.execute(
                "DELETE FROM file WHERE fate IS NULL OR chance OR NOT EXISTS (SELECT 1 FROM seen WHERE "
                "seen.path = file.path AND (seen.size, seen.time, seen.head) = (file.size, file.time, file.head))"
            )
            self.database.execute("INSERT OR IGNORE INTO file (path) SELECT path FROM seen")
            self.database.execute("DELETE FROM seen")
        return count

    def unread(self, again: bool = False) -> Iterator[str]:
        """Paths to read, sorted; ``again``: those whose reading failed in a way that may have been chance."""
        wanted = "chance" if again else "fate IS NULL"
        query = f"SELECT path FROM file WHERE {wanted} AND path > :after"  # noqa: S608  # words of our own
        yield from (path for (path,) in self._paged("path", query))

    def enter(self, path: str, reading: Reading) -> None:
        """Note what came of reading ``path``."""
        stamp = reading.stamp
        row = dict(reading.row) if reading.row is not None else {}
        thumbnail = row.pop("thumbnail", None)  # apart, so that to go through the rows is not to read it
        chance = reading.code in _CHANCE
        values = (
            stamp.size,
            stamp.time,
            stamp.head,
            reading.fate,
            reading.code,
            reading.detail,
            reading.sha256,
            orjson.dumps(row).decode() if row else None,
            row.get("instance"),
            chance,
            thumbnail,
        )
        self.database.execute(
            "UPDATE file SET size=?, time=?, head=?, fate=?, code=?, detail=?, sha256=?, row=?, instance=?, chance=?, "
            "thumbnail=? WHERE path=?",
            [*values, path],
        )

    def set_hash(self, path: str, digest: str | None) -> None:
        """Note the SHA-256 of a file whose reading failed."""
        self.database.execute("UPDATE file SET sha256 = ? WHERE path = ?", [digest, path])

    def images(self) -> Iterator[tuple[str, Row]]:
        """Path and row of each file that is an image, but of no mask; those of one SOP instance one after the other."""
        cursor = self.database.execute(
            "SELECT path, row FROM file WHERE fate = 'image' AND path NOT IN (SELECT path FROM mask) "
            "ORDER BY coalesce(instance, path), path"
        )
        for path, row in cursor:
            yield path, orjson.loads(row)

    def series(self) -> Iterator[tuple[str, Row]]:
        """Path and row of each file that is an image and was not refused, one series after the other."""
        cursor = self.database.execute(
            "SELECT path, row FROM file WHERE fate = 'image' AND path NOT IN (SELECT path FROM mask) "
            "AND path NOT IN (SELECT path FROM refusal) ORDER BY json_extract(row, '$.patient'), "
            "json_extract(row, '$.study'), json_extract(row, '$.series'), path"
        )
        for path, row in cursor:
            yield path, orjson.loads(row)

    def image(self, path: str) -> Row | None:
        """The row of a file; None when it was not seen or is no image."""
        found = self.rows("SELECT row FROM file WHERE path = ? AND fate = 'image'", path)
        return orjson.loads(found[0][0]) if found else None

    # Masks

    def set_aside(self, masks: Iterable[str]) -> None:
        """These files are masks of other images, not images of their own; so is what an import named a mask."""
        self.database.execute("INSERT INTO mask SELECT path FROM file WHERE path GLOB 'images/P*/*.mask.*'")
        self.database.executemany("INSERT OR IGNORE INTO mask VALUES (?)", ((path,) for path in masks))

    def idle_masks(self) -> list[str]:
        """Masks that no sample has."""
        query = "SELECT path FROM mask JOIN file USING (path) WHERE fate = 'image'"
        known = "SELECT path FROM member UNION ALL SELECT path FROM refusal"
        return [path for (path,) in self.rows(f"{query} AND path NOT IN ({known})")]

    # Samples

    def add(self, row: Row, paths: Iterable[str]) -> str:
        """Enter a sample made of files and return its name; a file may be part of several.

        ``row`` names it, or else its ``path`` does: then it has that file's thumbnail.
        """
        named = row.get("sample")
        name = str(named or sha256(row["path"].encode())[:16])
        told = row | {"sample": name}
        thumbnail = told.pop("thumbnail", None)
        pictured = row["path"] if not named and row["depth"] == 1 else None  # a volume has none
        about = (told["path"], told["patient"], told["site"], told.get("label"))
        self._samples.append((name, *about, orjson.dumps(told).decode(), pictured, thumbnail))
        self._members += [(path, name) for path in paths]
        if len(self._samples) >= _PAGE:
            self._flush()
        return name

    def _flush(self) -> None:
        """Write down what waits: one statement for many rows takes a fraction of the time."""
        if not self._samples:
            return
        self.database.executemany("INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._samples)
        self.database.executemany("INSERT INTO member VALUES (?, ?)", self._members)
        self._samples.clear()
        self._members.clear()

    def samples(self) -> Iterator[Row]:
        """Rows of the samples, each with the batch of its path, sorted by sample."""
        batch = "(SELECT batch FROM vouched WHERE vouched.path = sample.path)"
        query = f"SELECT sample, row, {batch} FROM sample WHERE sample > :after"  # noqa: S608  # words of our own
        for _, row, ordinal in self._paged("sample", query):
            yield orjson.loads(row) | {"batch": ordinal}

    def thumbnails(self) -> Iterator[tuple[str, str | None]]:
        """Sample and thumbnail, as text, of each sample, sorted by sample."""
        file = "(SELECT thumbnail FROM file WHERE file.path = sample.pictured)"
        query = f"SELECT sample, coalesce(thumbnail, {file}) FROM sample WHERE sample > :after"  # noqa: S608  # our own
        yield from self._paged("sample", query)

    def samples_of(self, path: str) -> list[str]:
        """The samples that have ``path`` among their files."""
        return [sample for (sample,) in self.rows("SELECT sample FROM member WHERE path = ?", path)]

    def members(self, sample: str) -> list[str]:
        """Paths of a sample's files, sorted."""
        return [path for (path,) in self.rows("SELECT path FROM member WHERE sample = ? ORDER BY path", sample)]

    # Refusals

    def refuse(self, paths: Iterable[str], code: Refusal, detail: str) -> None:
        """Quarantine files that could be read, one by one, but cannot be used; the first reason stays."""
        self._refused = True
        rows = [(path, code.value, detail) for path in paths]
        self.database.executemany("INSERT OR IGNORE INTO refusal VALUES (?, ?, ?)", rows)

    def any_refused(self, paths: list[str]) -> bool:
        """Whether one of the files was refused already."""
        return self._refused and any(self.rows("SELECT 1 FROM refusal WHERE path = ?", path) for path in paths)

    def refuse_sample(self, sample: str, code: Refusal, detail: str) -> None:
        """Quarantine all files of a sample, and with them the other samples that they are part of."""
        paths = self.members(sample)
        others = {other for path in paths for other in self.samples_of(path)}
        self.database.executemany("DELETE FROM sample WHERE sample = ?", [(name,) for name in others])
        self.database.executemany("DELETE FROM member WHERE path = ?", [(path,) for path in paths])
        self.refuse(paths, code, detail)
        for other in sorted(others):
            if self.members(other):
                self.refuse_sample(other, code, detail)

    def refused(self) -> Iterator[tuple[str, str, str]]:
        """Path, code and detail of each file that is quarantined, sorted by path."""
        yield from self.database.execute(
            "SELECT path, code, detail FROM file WHERE fate = 'refused' "
            "UNION ALL SELECT path, code, detail FROM refusal ORDER BY path"
        )

    # What came through an import

    def vouch(self, rows: Iterable[tuple[str, str, int]]) -> None:
        """Path and SHA-256 of files that came through an import, and the ordinal of the batch that brought each."""
        self.database.executemany("INSERT INTO vouched VALUES (?, ?, ?)", rows)

    def unvouched(self) -> int:
        """How many files no import vouches for as they are."""
        return self.count(
            "SELECT count(*) FROM file LEFT JOIN vouched USING (path) "
            "WHERE file.sha256 IS NULL OR file.sha256 IS NOT vouched.sha256"
        )

    def changed(self) -> list[str]:
        """Files that an import vouches for, and that are others now."""
        query = "SELECT path FROM file JOIN vouched USING (path) WHERE file.sha256 IS NOT vouched.sha256"
        return [path for (path,) in self.rows(query)]

    # Look-ups

    def has(self, path: str) -> bool:
        """Whether ``path`` was seen."""
        return bool(self.rows("SELECT 1 FROM file WHERE path = ?", path))

    def unlabelled(self, limit: int) -> list[str]:
        """Paths of the first samples without a label."""
        return [
            path for (path,) in self.rows("SELECT path FROM sample WHERE label IS NULL ORDER BY path LIMIT ?", limit)
        ]

    def count(self, query: str, *values: object) -> int:
        """The one number that ``query`` asks for."""
        return int(self.rows(query, *values)[0][0])

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of ``query``."""
        self._flush()
        return self.database.execute(query, values).fetchall()

    def _paged(self, key: str, query: str) -> Iterator[tuple[Any, ...]]:
        """Rows in order of their first column, which may change while they are read: a page at a time."""
        self._flush()
        after = ""
        while page := self.database.execute(f"{query} ORDER BY {key} LIMIT {_PAGE}", {"after": after}).fetchall():
            yield from page
            after = page[-1][0]


@contextmanager
def open_account(path: Path, version: str) -> Iterator[Account]:
    """The account with the journal at ``path``; a journal that is damaged is begun anew.

    Raises:
        DataError: the disk is full.
    """
    try:
        account = Account(path, version)
    except sqlite3.DatabaseError as error:
        _explain(error)
        for leftover in path.parent.glob(f"{path.name}*"):
            leftover.unlink()
        account = Account(path, version)
    try:
        yield account
    except sqlite3.DatabaseError as error:
        _explain(error)
        raise
    finally:
        account.close()


def _explain(error: sqlite3.DatabaseError) -> None:
    if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE):
        raise DataError("The disk is full. Make room and run dvc repro again; what was read is remembered.") from None
