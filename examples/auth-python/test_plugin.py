"""Tests of this plugin's own logic. The contract with the gateway is tested by `lmqgate plugin test`; see plugintest.yaml."""

import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from lmqgate.plugin import Setup, check
from lmqgate.plugin.v1 import auth_pb2 as auth

import plugin
from plugin import AuthPython
from rules import Rule, decide
from users import hash_password, verify_password

HERE = os.path.dirname(os.path.abspath(__file__))


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition does not come true")
        time.sleep(0.01)


class RulesTest(unittest.TestCase):
    def allowed(self, rules, action, topic, client_id="c1", username="u1"):
        return decide([Rule(*r.split(" ", 2)) for r in rules], action, topic, client_id, username)[0]

    def test_the_first_match_decides_and_no_match_denies(self):
        rules = ["deny all a/secret", "allow all a/#"]
        self.assertTrue(self.allowed(rules, "publish", "a/b"))
        self.assertFalse(self.allowed(rules, "publish", "a/secret"))
        self.assertFalse(self.allowed(rules, "subscribe", "a/#"), "it would receive a/secret")
        self.assertTrue(self.allowed(rules, "subscribe", "a/b/+"))
        self.assertFalse(self.allowed(rules, "publish", "b"))
        self.assertFalse(self.allowed(["allow publish #"], "subscribe", "a"))

    def test_names_stand_for_themselves_only(self):
        self.assertTrue(self.allowed(["allow all x/%c/%u"], "publish", "x/c1/u1"))
        self.assertFalse(self.allowed(["allow all x/%c/#"], "subscribe", "x/+/#", client_id="+"))
        self.assertFalse(self.allowed(["deny all x/%c", "allow all #"], "publish", "y", client_id="a/b"))
        self.assertFalse(self.allowed(["allow all %c/#"], "subscribe", "$SYS/#", client_id="$SYS"))
        self.assertFalse(self.allowed(["allow all %u"], "publish", "c1", username="%c"))

    def test_a_name_does_not_make_a_topic_point_to_point(self):
        for rule, topic, want in [
            ("allow all state/%c/#", "state/p2p/victim", False),
            ("allow all /state/%u/#", "/state/p2p/victim", False),
            ("allow all //%c/#", "//p2p/victim", False),
            ("allow all +/+/%c/#", "/state/p2p/victim", False),
            ("allow all state/p2p/%c", "state/p2p/p2p", True),
            ("allow all state/#", "state/p2p/victim", True),
            ("allow all a/b/%c/x", "a/b/p2p/x", True),
            ("allow all %c/x", "p2p/x", True),
        ]:
            self.assertEqual(self.allowed([rule], "publish", topic, client_id="p2p", username="p2p"), want, rule)
        self.assertFalse(self.allowed(["allow all /%c/#"], "subscribe", "/$events/#", client_id="$events"))
        self.assertFalse(self.allowed(["allow all $%c/#"], "subscribe", "$SYS/#", client_id="SYS"))

    def test_a_rule_that_is_no_filter_is_on_the_safe_side(self):
        self.assertFalse(self.allowed(["allow all a/#/b"], "publish", "a/x"))
        self.assertFalse(self.allowed(["deny all a/#/b", "allow all #"], "publish", "z"))


class PasswordTest(unittest.TestCase):
    def test_a_password_is_verified_and_a_damaged_hash_is_nobodys(self):
        stored = hash_password(b"secret")
        self.assertTrue(verify_password(stored, b"secret"))
        self.assertFalse(verify_password(stored, b"Secret"))
        for damaged in ("", "secret", stored.replace("scrypt", "plain"), stored.replace("$16384$", "$3$"), stored[:-8]):
            self.assertFalse(verify_password(damaged, b"secret"), damaged)
        self.assertNotEqual(stored, hash_password(b"secret"), "each has a salt of its own")


class PluginTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "users.db")
        self.users("add", "ann", password="ann-password")
        self.users("rule", "ann", "allow", "all", "ann/#")
        self.plugin = AuthPython()
        config = {"database": self.path, "poll_interval": "10ms"}
        self.assertEqual(check(config, AuthPython.keys), [])
        self.assertEqual(self.plugin.configure(Setup(config, "test", "/nowhere", "/nowhere")), [])
        self.plugin.activate()
        self.addCleanup(self.plugin.deactivate)

    def users(self, *arguments, password=""):
        subprocess.run([sys.executable, os.path.join(HERE, "users.py"), self.path, *arguments], input=password, text=True, check=True)

    def connect(self, username, password):
        connection = auth.Connection(client_id="c", has_username=True, username=username)
        return self.plugin.authenticate(auth.AuthenticateRequest(connection=connection, has_password=True, password=password.encode()))

    def test_the_users_of_the_database_are_admitted(self):
        for _ in range(2):  # the second is remembered
            self.assertEqual(self.connect("ann", "ann-password").reason, auth.REASON_OK)
        self.assertEqual(self.connect("ann", "guess").detail, "wrong password")
        self.assertEqual(self.connect("bob", "guess").detail, "unknown user")

    def test_a_storm_of_new_clients_is_put_off_and_known_ones_are_not(self):
        self.assertEqual(self.connect("ann", "ann-password").reason, auth.REASON_OK)
        for _ in range(plugin.MAX_CHECKS):
            self.plugin.verified.places.acquire()
        self.assertEqual(self.connect("bob", "guess").reason, auth.REASON_UNAVAILABLE)
        self.assertEqual(self.connect("ann", "ann-password").reason, auth.REASON_OK)
        for _ in range(plugin.MAX_CHECKS):
            self.plugin.verified.places.release()
        self.assertEqual(self.connect("bob", "guess").reason, auth.REASON_BAD_CREDENTIALS)

    def test_a_change_of_the_database_is_taken_over_and_revoked(self):
        ended = threading.Event()
        revocations = self.plugin.revocations(ended)
        got = []
        reader = threading.Thread(target=lambda: got.extend([next(revocations), next(revocations)]))
        reader.start()
        wait_until(lambda: self.plugin.streams)
        self.users("add", "bob", password="bob-password")  # concerns nobody
        self.users("rule", "ann", "allow", "all", "more/#")
        wait_until(lambda: len(self.plugin.users["ann"].rules) == 2)
        self.users("disable", "ann")
        reader.join(20)
        self.assertEqual([(r.username, r.disconnect) for r in got], [("ann", False), ("ann", True)])
        self.assertEqual(self.connect("ann", "ann-password").reason, auth.REASON_BANNED)
        self.assertEqual(self.connect("bob", "bob-password").reason, auth.REASON_OK)
        ended.set()
        self.assertEqual(list(revocations), [])
        self.assertEqual(self.plugin.streams, set())

    def test_a_gateway_that_reads_too_slowly_is_cut_off(self):
        ended = threading.Event()
        revocations = self.plugin.revocations(ended)
        self.plugin.revoke(auth.Revocation(username="nobody listens yet"))
        timer = threading.Timer(20, ended.set)
        timer.start()
        self.addCleanup(timer.cancel)
        first = threading.Thread(target=next, args=(revocations,))
        first.start()
        wait_until(lambda: self.plugin.streams)
        for _ in range(plugin.MAX_WAITING_REVOCATIONS + 2):
            self.plugin.revoke(auth.Revocation(username="x"))
        first.join()
        self.assertLessEqual(len(list(revocations)), plugin.MAX_WAITING_REVOCATIONS)
        self.assertFalse(ended.is_set(), "the stream ended by itself")

    def test_what_cannot_be_used_is_said_by_name(self):
        p = AuthPython()
        problems = p.configure(Setup({"database": "x.db", "script": "gone.sql", "poll_interval": 1.0}, "test", "/nowhere", "/nowhere"))
        self.assertEqual([(q.key, "gone.sql" in q.message) for q in problems], [("script", True)])
        p.configure(Setup({"database": "gone.db", "poll_interval": 1.0}, "test", "/nowhere", "/nowhere"))
        with self.assertRaisesRegex(FileNotFoundError, "gone.db"):
            p.activate()


if __name__ == "__main__":
    unittest.main()
