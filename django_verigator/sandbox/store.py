"""Store the sandbox's state in SQLite: one connection under one lock, in memory or in a file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

APPLICATION_ID = 0x56524754  # "VRGT": tells the sandbox's files from those of other programs
VERSION = 3
TABLES = (
    "service",
    "user",
    "authentication",
    "accepted_step",
    "message",
    "notice",
    "device",
    "number_session",
    "trusted_cookie",
    "twilio_verification",
)
SCHEMA_V1 = """
CREATE TABLE service (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, fqdn TEXT NOT NULL, name TEXT NOT NULL, ctime REAL NOT NULL,
    UNIQUE (account, name));
CREATE TABLE user (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, service_id TEXT NOT NULL REFERENCES service (id),
    id_in_service TEXT NOT NULL, phone_number TEXT NOT NULL, ctime REAL NOT NULL,
    UNIQUE (service_id, id_in_service));
CREATE INDEX user_by_page ON user (service_id, seq);
CREATE INDEX user_by_phone ON user (phone_number, seq);
CREATE TABLE authentication (
    user_id TEXT PRIMARY KEY REFERENCES user (id) ON DELETE CASCADE, auth_id TEXT NOT NULL,
    method TEXT NOT NULL, pin TEXT NOT NULL, started REAL NOT NULL, wrong_tries INTEGER NOT NULL);
CREATE TABLE accepted_step (
    user_id TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE, secret TEXT NOT NULL, step INTEGER NOT NULL,
    PRIMARY KEY (user_id, secret));
CREATE TABLE message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, phone_number TEXT NOT NULL, text TEXT NOT NULL, pin TEXT NOT NULL,
    user_id TEXT NOT NULL, sent REAL NOT NULL);
CREATE INDEX message_by_phone ON message (phone_number, seq);
CREATE TABLE notice (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, phone_number TEXT NOT NULL, text TEXT NOT NULL,
    user_id TEXT NOT NULL, sent REAL NOT NULL);
CREATE INDEX notice_by_phone ON notice (phone_number, seq);
CREATE TABLE device (phone_number TEXT PRIMARY KEY, secret TEXT NOT NULL, attached REAL NOT NULL);
"""
SCHEMA_V2 = """
CREATE TABLE number_session (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, phone_number TEXT NOT NULL, text TEXT NOT NULL, pin TEXT NOT NULL,
    started REAL NOT NULL, ends REAL NOT NULL, sendings INTEGER NOT NULL, retry_delay INTEGER NOT NULL,
    sent INTEGER NOT NULL, wrong_tries INTEGER NOT NULL);
CREATE TABLE trusted_cookie (
    account TEXT NOT NULL, phone_number TEXT NOT NULL, cookie TEXT NOT NULL, ip TEXT NOT NULL,
    PRIMARY KEY (account, phone_number, cookie));
"""
SCHEMA_V3 = """
ALTER TABLE message ADD COLUMN channel TEXT NOT NULL DEFAULT 'sms';
CREATE TABLE twilio_verification (
    sid TEXT PRIMARY KEY, account TEXT NOT NULL, service_sid TEXT NOT NULL, phone_number TEXT NOT NULL,
    pin TEXT NOT NULL, channel TEXT NOT NULL, started REAL NOT NULL, updated REAL NOT NULL, checks INTEGER NOT NULL,
    attempts TEXT NOT NULL, UNIQUE (account, service_sid, phone_number));
"""
SCHEMAS = (SCHEMA_V1, SCHEMA_V2, SCHEMA_V3)
"""What each version has added. A file of an earlier version gets what it lacks when it is opened."""

Row = tuple[object, ...]


class StoreError(Exception):
    """Report that the file cannot be used as the sandbox's database."""


class Store:
    """Run SQL statements; a caller that reads and then writes does both inside one ``transaction()``.

    Args:
        path: the file, or None to keep everything in memory.

    Raises:
        StoreError: the file cannot be opened, or belongs to another program.
    """

    def __init__(self, path: str | None = None) -> None:
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        except sqlite3.Error as error:
            raise StoreError(f"cannot open {path}: {error}") from None
        try:
            self._prepare()
        except (sqlite3.Error, StoreError) as error:
            self._connection.close()
            raise StoreError(f"cannot use {path} as the sandbox's database: {error}") from None

    def _prepare(self) -> None:
        (application_id,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and application_id != APPLICATION_ID:
            raise StoreError("it belongs to another program")
        if tables and version not in range(1, VERSION + 1):
            raise StoreError(f"it was written by another version of the sandbox ({version}, this one is {VERSION})")
        # With these a killed process loses nothing; only a power cut may, which a sandbox can afford.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        missing = SCHEMAS[version:] if tables else SCHEMAS
        if missing:
            header = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
            self._connection.executescript(f"BEGIN; {' '.join(missing)} {header} COMMIT;")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything inside, or nothing; other threads wait."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        """Return all rows of a SELECT."""
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def row(self, statement: str, values: Sequence[object] = ()) -> Row | None:
        """Return the first row of a SELECT, or None."""
        with self._lock:
            row: Row | None = self._connection.execute(statement, values).fetchone()
            return row

    def write(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run a statement and return the number of rows it changed.

        Raises:
            sqlite3.IntegrityError: the statement violates a constraint.
        """
        with self._lock:
            return self._connection.execute(statement, values).rowcount

    def clear(self) -> None:
        """Delete all rows."""
        with self.transaction():
            for table in reversed(TABLES):
                self.write(f"DELETE FROM {table}")  # noqa: S608 - constant names

    def close(self) -> None:
        """Close the connection; a database in memory is gone."""
        with self._lock:
            self._connection.close()
