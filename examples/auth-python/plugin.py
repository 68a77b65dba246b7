"""auth-python decides by a database of users, which may change while it runs. See README.md."""

import hashlib
import hmac
import os
import queue
import sqlite3
import threading
from collections import OrderedDict

from lmqgate.plugin import AuthPlugin, Key, Problem, log
from lmqgate.plugin.topics import validate, validate_action
from lmqgate.plugin.v1 import auth_pb2 as auth

from rules import decide
from users import Database, hash_password, verify_password

KEEP_DECISION_MS = 10 * 60 * 1000
"""Decisions may be cached for long, because a change of the database causes a revocation."""

MAX_VERIFIED = 10_000
MAX_WAITING_REVOCATIONS = 1000
MAX_CHECKS = 32
"""Passwords in progress or waiting; half of the threads, so that Authorize always finds a free one."""


class AuthPython(AuthPlugin):
    name = "auth-python"
    version = "1.0.0"
    judges_foreign_clients = True  # rules are about user names and client identifiers, whoever admitted the client
    keys = [
        Key("database", required=True, description="the SQLite file with the users; users.py keeps it"),
        Key("script", description="an SQL script that a database which is not there is made from"),
        Key("poll_interval", "duration", default="1s", description="how often the database is asked whether it has changed"),
    ]

    def configure(self, setup):
        self.path = setup.path(setup.config["database"])
        script = setup.path(setup.config.get("script", ""))
        self.poll_interval = setup.config["poll_interval"]
        self.script = None
        if self.poll_interval <= 0:
            return [Problem("poll_interval", "must be more than 0")]
        if script:
            try:
                with open(script, encoding="utf-8") as file:
                    self.script = file.read()
            except OSError as wrong:
                return [Problem("script", f"{script} cannot be read: {wrong.strerror}")]
        return []

    def activate(self):
        self.verified = Verified()
        self.nobody = hash_password(os.urandom(16))
        self.lock = threading.Lock()  # guards streams
        self.streams = set()
        self.stop = threading.Event()
        self.trouble = ""
        self.database = Database(self.path, self.script)
        self.version = self.database.version()
        self.users = self.database.users()  # replaced as a whole, so calls need no lock
        report(self.users)
        self.poller = threading.Thread(target=self.poll, daemon=True)
        self.poller.start()

    def deactivate(self):
        self.stop.set()
        self.poller.join()
        self.database.close()

    def health(self):
        return self.trouble

    # Calls.

    def authenticate(self, request):
        connection = request.connection
        user = self.users.get(connection.username) if connection.has_username else None
        # Check also for an unknown user, so that the time does not reveal which user names exist.
        right = self.verified.check(user.password if user else self.nobody, request.password)
        if right is None:
            return refuse(auth.REASON_UNAVAILABLE, "too many passwords are being checked; clients try again")
        if user is None:
            return refuse(auth.REASON_BAD_CREDENTIALS, "unknown user")
        if not request.has_password or not right:
            return refuse(auth.REASON_BAD_CREDENTIALS, "wrong password")
        if user.disabled:
            return refuse(auth.REASON_BANNED, "the user is disabled")
        return auth.AuthenticateResponse(reason=auth.REASON_OK, identity=user.name)

    def authorize(self, request):
        return auth.AuthorizeResponse(decisions=[self.judge(request.client.connection, action) for action in request.actions])

    def judge(self, connection, action):
        kinds = {auth.ACTION_KIND_PUBLISH: "publish", auth.ACTION_KIND_SUBSCRIBE: "subscribe"}
        user = self.users.get(connection.username) if connection.has_username else None
        if user is None or user.disabled:
            allow, why = False, "the user is disabled" if user else "unknown user"
        elif wrong := validate_action(action):
            allow, why = False, wrong
        else:
            allow, why = decide(user.rules, kinds[action.kind], action.topic, connection.client_id, user.name)
        return auth.Decision(allow=allow, cache_ms=KEEP_DECISION_MS, detail=why)

    def revocations(self, ended):
        """Tells the gateway whose decisions no longer hold. A gateway that reads too slowly is cut off: it then asks for a new
        stream and drops all decisions."""
        waiting = queue.Queue(MAX_WAITING_REVOCATIONS)
        with self.lock:
            self.streams.add(waiting)
        try:
            while not ended.is_set():
                try:
                    revocation = waiting.get(timeout=0.2)
                except queue.Empty:
                    continue
                if revocation is None:
                    return
                yield revocation
        finally:
            with self.lock:
                self.streams.discard(waiting)

    # Changes of the database.

    def poll(self):
        while not self.stop.wait(self.poll_interval):
            try:
                version = self.database.version()
                if version != self.version:
                    self.replace(self.database.users())
                    self.version = version
                self.trouble = ""
            except sqlite3.Error as wrong:
                # The users that were read last stay in use; health tells the operator.
                self.trouble = f"{self.path} cannot be read: {wrong}"

    def replace(self, users):
        """Switches to a new set of users, and then revokes decisions of the old one."""
        before, self.users = self.users, users
        for name, old in before.items():
            new = users.get(name)
            if new == old:
                continue
            gone = new is None or new.disabled or new.password != old.password
            self.revoke(auth.Revocation(username=name, disconnect=gone, detail="the user was changed in the database"))
        report(users)

    def revoke(self, revocation):
        with self.lock:
            for waiting in list(self.streams):
                try:
                    waiting.put_nowait(revocation)
                except queue.Full:
                    self.streams.discard(waiting)
                    waiting.get_nowait()
                    waiting.put_nowait(None)


class Verified:
    """Caches which passwords were right, so that a device that reconnects costs no scrypt. Bounds how many hashes are computed
    concurrently (each takes 16 MiB), and how many wait."""

    def __init__(self):
        self.key = os.urandom(32)  # what is remembered is worthless outside of this process
        self.lock = threading.Lock()
        self.right = OrderedDict()
        self.places = threading.BoundedSemaphore(MAX_CHECKS)
        self.turn = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))

    def check(self, stored, password):
        """Whether the password matches the stored one; None if too many are being checked."""
        mark = hmac.digest(self.key, stored.encode() + b"\0" + password, hashlib.sha256)
        with self.lock:
            if mark in self.right:
                self.right.move_to_end(mark)
                return True
        if not self.places.acquire(blocking=False):
            return None
        try:
            with self.turn:
                right = verify_password(stored, password)
        finally:
            self.places.release()
        if right:
            with self.lock:
                self.right[mark] = None
                if len(self.right) > MAX_VERIFIED:
                    self.right.popitem(last=False)
        return right


def refuse(reason, detail):
    return auth.AuthenticateResponse(reason=reason, detail=detail)


def report(users):
    """Logs what was read, and which rules can never match."""
    log.info("users read", users=len(users))
    for user in users.values():
        for number, rule in enumerate(user.rules, 1):
            wrong = validate(rule.topic.replace("%c", "x").replace("%u", "x"))
            if wrong:
                log.warn("a rule is no topic filter: an allow matches nothing, a deny everything", user=user.name, rule=number, error=wrong)
