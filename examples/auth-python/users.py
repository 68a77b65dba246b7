"""The database of users, and a command to maintain it:

    python3 users.py users.db add NAME           # reads the password from standard input
    python3 users.py users.db rule NAME allow publish 'state/%c/#'
    python3 users.py users.db disable NAME       # and enable NAME, remove NAME
    python3 users.py users.db list

A running plugin sees every change within a second.
"""

import argparse
import base64
import getpass
import hashlib
import hmac
import os
import pathlib
import sqlite3
import sys
from dataclasses import dataclass

from rules import Rule

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    name TEXT PRIMARY KEY, password TEXT NOT NULL, disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)));
CREATE TABLE IF NOT EXISTS rules (
    id INTEGER PRIMARY KEY, user TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    effect TEXT NOT NULL CHECK (effect IN ('allow', 'deny')),
    action TEXT NOT NULL CHECK (action IN ('publish', 'subscribe', 'all')),
    topic TEXT NOT NULL);
"""

# scrypt's cost: 16 MiB and about 50 ms for each password.
N, R, P = 1 << 14, 8, 1


@dataclass(frozen=True)
class User:
    name: str
    password: str  # as hash_password writes it
    disabled: bool
    rules: tuple


class Database:
    """A connection for one thread at a time."""

    def __init__(self, path, script=None):
        """Opens the database. If there is none it is created from an SQL script; without a script that is an error."""
        there = os.path.exists(path)
        if not there and script is None:
            raise FileNotFoundError(f"there is no database {path}; make one with users.py")
        self.db = sqlite3.connect(path, timeout=2, check_same_thread=False)
        try:
            self.db.execute("PRAGMA foreign_keys = ON")
            if not there:
                os.chmod(path, 0o600)
                self.db.executescript(SCHEMA + script)
        except sqlite3.Error:
            self.db.close()
            if not there:
                os.remove(path)
            raise

    def close(self):
        self.db.close()

    def version(self):
        """A number that changes whenever another connection has changed the database."""
        return self.db.execute("PRAGMA data_version").fetchone()[0]

    def users(self):
        """A snapshot of all users, by name."""
        with self.db:
            self.db.execute("BEGIN")
            rules = {}
            for user, *rule in self.db.execute("SELECT user, effect, action, topic FROM rules ORDER BY id"):
                rules.setdefault(user, []).append(Rule(*rule))
            return {
                name: User(name, password, bool(disabled), tuple(rules.get(name, ())))
                for name, password, disabled in self.db.execute("SELECT name, password, disabled FROM users")
            }


def hash_password(password: bytes) -> str:
    """scrypt$N$r$p$salt$hash; salt and hash in Base64."""
    salt = os.urandom(16)
    digest = hashlib.scrypt(password, salt=salt, n=N, r=R, p=P)
    return "$".join(["scrypt", str(N), str(R), str(P), _encode(salt), _encode(digest)])


def verify_password(stored: str, password: bytes) -> bool:
    """Whether the password is right. A damaged stored hash matches no password."""
    try:
        kind, n, r, p, salt, digest = stored.split("$")
        want = base64.b64decode(digest)
        got = hashlib.scrypt(password, salt=base64.b64decode(salt), n=int(n), r=int(r), p=int(p), maxmem=64 << 20)
    except ValueError:
        return False
    return kind == "scrypt" and hmac.compare_digest(want, got)


def _encode(data):
    return base64.b64encode(data).decode()


def main(arguments):
    parser = argparse.ArgumentParser(description="Keeps the users of auth-python.")
    parser.add_argument("database", type=pathlib.Path)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("add", "disable", "enable", "remove"):
        commands.add_parser(name).add_argument("name")
    rule = commands.add_parser("rule")
    rule.add_argument("name")
    rule.add_argument("effect", choices=["allow", "deny"])
    rule.add_argument("action", choices=["publish", "subscribe", "all"])
    rule.add_argument("topic")
    commands.add_parser("list")
    chosen = parser.parse_args(arguments)

    database = Database(chosen.database, script="")
    try:
        with database.db as db:
            return _run(db, database, chosen)
    finally:
        database.close()


def _run(db, database, chosen):
    command, name = chosen.command, getattr(chosen, "name", None)
    if command == "list":
        for user in database.users().values():
            print(user.name, "(disabled)" if user.disabled else "")
            for rule in user.rules:
                print("   ", rule)
        return 0
    if command == "add":
        password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
        if not password:
            print("users.py: a password must not be empty", file=sys.stderr)
            return 1
        db.execute("INSERT INTO users (name, password) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET password = excluded.password",
                   (name, hash_password(password.encode())))
        return 0
    if not db.execute("SELECT 1 FROM users WHERE name = ?", (name,)).fetchone():
        print(f"users.py: there is no user {name!r}", file=sys.stderr)
        return 1
    if command == "rule":
        db.execute("INSERT INTO rules (user, effect, action, topic) VALUES (?, ?, ?, ?)", (name, chosen.effect, chosen.action, chosen.topic))
    elif command == "remove":
        db.execute("DELETE FROM users WHERE name = ?", (name,))
    else:
        db.execute("UPDATE users SET disabled = ? WHERE name = ?", (command == "disable", name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
