"""What the tests run on, for a session of nox. Says it; ends with an error and the reason where it is not as wanted.

python -m tests.running_on 3.11 5.2       this Python, and Django where one is named
python -m tests.running_on postgresql     whether the server at 127.0.0.1 lets the tests in; also: mariadb
"""

from __future__ import annotations

import os
import platform
import sys


def check_versions(python: str, *django: str) -> str:
    running = [platform.python_version()]
    if django:
        import django as installed

        running.append(installed.__version__)
    for version, wanted in zip(running, (python, *django), strict=True):
        if version.split(".")[:2] != wanted.split("."):
            raise RuntimeError(f"this is {version}, and not {wanted}")
    return " and Django ".join(["Python " + running[0], *running[1:]])


def ask_postgresql() -> str:
    import psycopg

    user = os.environ.get("PGUSER", "postgres")
    with psycopg.connect(host="127.0.0.1", user=user, dbname="postgres", connect_timeout=5) as connection:
        row = connection.execute("SHOW server_version").fetchone()
        return f"PostgreSQL {row[0] if row else ''}"


def ask_mariadb() -> str:
    import MySQLdb

    version: str = MySQLdb.connect(host="127.0.0.1", user="root", connect_timeout=5).get_server_info()
    if "MariaDB" not in version:
        raise RuntimeError(f"{version} is no MariaDB")
    return f"MariaDB {version}"


SERVERS = {"postgresql": ask_postgresql, "mariadb": ask_mariadb}

if __name__ == "__main__":
    try:
        print(SERVERS[sys.argv[1]]() if sys.argv[1] in SERVERS else check_versions(*sys.argv[1:]))
    except Exception as error:  # noqa: BLE001 - whatever a driver raises is the reason
        sys.exit(" ".join(str(error).split()) or repr(error))
