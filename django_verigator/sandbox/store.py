"""The sandbox's memory: one SQLite connection under one lock, in memory or in a file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

APPLICATION_ID = 0x56524754  # "VRGT", so that a file of another program is never taken for ours
VERSION = 2
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
)
SCHEMA = """
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
# What version 2 added: a file of version 1 gets it when it is opened.
ADDED = """
CREATE TABLE number_session (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, phone_number TEXT NOT NULL, text TEXT NOT NULL, pin TEXT NOT NULL,
    started REAL NOT NULL, ends REAL NOT NULL, sendings INTEGER NOT NULL, retry_delay INTEGER NOT NULL,
    sent INTEGER NOT NULL, wrong_tries INTEGER NOT NULL);
CREATE TABLE trusted_cookie (
    account TEXT NOT NULL, phone_number TEXT NOT NULL, cookie TEXT NOT NULL, ip TEXT NOT NULL,
    PRIMARY KEY (account, phone_number, cookie));
"""

Row = tuple[object, ...]


class StoreError(Exception):
    """The file cannot be used as the sandbox's memory."""


class Store:
    """Rows in, rows out. Whoever checks and then writes does both inside one ``transaction``."""

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
        if tables and version not in (1, VERSION):
            raise StoreError(f"it was written by another version of the sandbox ({version}, this one is {VERSION})")
        # A killed process loses nothing; only a power cut may, and that is a fair price in a stand-in.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        if not tables:
            marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
            self._connection.executescript(f"BEGIN; {SCHEMA} {ADDED} {marks} COMMIT;")
        elif version != VERSION:
            self._connection.executescript(f"BEGIN; {ADDED} PRAGMA user_version = {VERSION}; COMMIT;")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside happens, or nothing; no other call's work comes in between."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def row(self, statement: str, values: Sequence[object] = ()) -> Row | None:
        with self._lock:
            found: Row | None = self._connection.execute(statement, values).fetchone()
            return found

    def write(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run one statement and say how many rows it changed; raises sqlite3.IntegrityError where a row is taken."""
        with self._lock:
            return self._connection.execute(statement, values).rowcount

    def clear(self) -> None:
        with self.transaction():
            for table in reversed(TABLES):
                self.write(f"DELETE FROM {table}")  # noqa: S608 - our own names

    def close(self) -> None:
        with self._lock:
            self._connection.close()
