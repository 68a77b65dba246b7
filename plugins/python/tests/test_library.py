"""Tests of the package lmqgate.plugin, run by test/authors in a virtual environment with grpcio and protobuf."""

import io
import json
import pathlib
import subprocess
import sys
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import grpc  # noqa: E402

from lmqgate.plugin import Key, Problem, check, log  # noqa: E402
from lmqgate.plugin.topics import covers, match, overlaps, validate, validate_action, validate_name  # noqa: E402
from lmqgate.plugin.v1 import auth_pb2, plugin_pb2  # noqa: E402


class TopicsTest(unittest.TestCase):
    # As plugins/sdk/topicfilter has them.
    COVERS = [
        ("a/#", "a/+/c", True), ("a/#", "a", True), ("a/#", "a/#", True), ("a/+", "a/#", False), ("a/+", "a/b", True),
        ("a/+", "a", False), ("a/+", "a/b/c", False), ("#", "a/b", True), ("#", "+/b", True), ("+/#", "#", True), ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False), ("$SYS/#", "$SYS/x", True), ("a/b", "a/+", False), ("a", "a", True), ("a", "a/", False), ("+", "", True),
        ("/+", "/", True), ("a/+/#", "a/b", True), ("a/+/#", "a", False),
    ]
    OVERLAPS = [
        ("a/secret", "a/#", True), ("a/+", "+/b", True), ("a/b", "a/c", False), ("a/#", "a", True), ("#", "$SYS/#", False),
        ("+/x", "$SYS/x", False), ("a/+/c", "a/b/+", True), ("a/+", "a/b/c", False), ("#", "#", True), ("$SYS/+", "$SYS/#", True),
    ]

    def test_covers(self):
        for rule, wanted, want in self.COVERS:
            self.assertEqual(covers(rule, wanted), want, (rule, wanted))

    def test_overlaps_both_ways(self):
        for a, b, want in self.OVERLAPS:
            self.assertEqual(overlaps(a, b), want, (a, b))
            self.assertEqual(overlaps(b, a), want, (b, a))

    def test_match_takes_names_only(self):
        self.assertTrue(match("a/+", "a/b"))
        self.assertFalse(match("a/+", "a/+"))

    def test_what_is_malformed_is_said(self):
        for bad in ("", "a/#/b", "a#", "a/b+", "a\0", "x" * 65536):
            self.assertTrue(validate(bad), bad[:20])
        for good in ("#", "+", "a/+/#", "/", "x" * 65535):
            self.assertEqual(validate(good), "", good[:20])
        for bad in ("", "a/+", "#", "a\0"):
            self.assertTrue(validate_name(bad))
        self.assertEqual(validate_name("a/b"), "")
        self.assertTrue(validate_action(auth_pb2.Action(topic="a")))
        self.assertTrue(validate_action(auth_pb2.Action(kind=auth_pb2.ACTION_KIND_PUBLISH, topic="a/+")))
        self.assertEqual(validate_action(auth_pb2.Action(kind=auth_pb2.ACTION_KIND_SUBSCRIBE, topic="a/+")), "")


class ConfigTest(unittest.TestCase):
    KEYS = [
        Key("users", "list", required=True), Key("users[].name", required=True), Key("users[].age", "int"),
        Key("timeout", "duration", default="3s"), Key("tls.enabled", "bool", default=False), Key("ratio", "float"),
        Key("labels", "map"), Key("tls.names", "list"),
    ]

    def problems(self, **config):
        return {p.key: p.message for p in check(config, self.KEYS)}

    def test_defaults_are_filled_in_and_durations_become_seconds(self):
        config = {"users": [{"name": "a", "age": "7"}], "tls": {"names": ["x"]}, "ratio": "0.5"}
        self.assertEqual(check(config, self.KEYS), [])
        self.assertEqual(config, {"users": [{"name": "a", "age": 7}], "timeout": 3.0, "tls": {"enabled": False, "names": ["x"]}, "ratio": 0.5})
        for text, seconds in {"1h2m3.5s": 3723.5, "500ms": 0.5, "0": 0.0, "-2s": -2.0}.items():
            config = {"users": [], "timeout": text}
            self.assertEqual(check(config, self.KEYS), [])
            self.assertAlmostEqual(config["timeout"], seconds)

    def test_every_problem_is_named_and_no_value_repeated(self):
        self.assertEqual(self.problems(users=[{"nam": "x", "age": "old"}, 3], timeout="soon", tls=[], labels="x", ratio=True), {
            "users[0].nam": "unknown key; did you mean name?", "users[0].name": "is required", "users[0].age": "must be a whole number",
            "users[1]": "must be a block of keys", "timeout": "must be a duration with a unit, such as 500ms, 3s or 2h",
            "tls": "must be a block of keys", "labels": "must be a block of keys", "ratio": "must be a number",
        })
        self.assertEqual(self.problems(), {"users": "is required"})
        self.assertEqual(self.problems(users={}), {"users": "must be a list"})
        self.assertEqual(self.problems(users=[], timeout=3), {"timeout": "must be a duration with a unit, such as 500ms, 3s or 2h"})
        self.assertIn("put it in quotes", self.problems(users=[{"name": 83}])["users[0].name"])
        self.assertEqual(check({"x": 1}, []), [Problem("x", "unknown key; no keys are known here")])


class LogTest(unittest.TestCase):
    def test_lines_are_those_of_hclog(self):
        out = io.StringIO()
        with mock.patch("sys.__stderr__", out):
            log.warn("two\nlines", error=ValueError("why"), users=3)
        line, rest = out.getvalue().split("\n", 1)
        self.assertEqual(rest, "")
        line = json.loads(line)
        self.assertRegex(line.pop("@timestamp"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertEqual(line, {"@level": "warn", "@message": "two\nlines", "error": "why", "users": 3})


class ServeTest(unittest.TestCase):
    CODE = "from lmqgate.plugin import AuthPlugin, serve\nclass P(AuthPlugin): name = 'auth-p'\nserve(P())"
    HERE = pathlib.Path(__file__).resolve().parent.parent

    def test_a_person_who_starts_a_plugin_is_told_what_it_is(self):
        ended = subprocess.run([sys.executable, "-c", self.CODE], cwd=self.HERE, capture_output=True, text=True, timeout=60)
        self.assertEqual((ended.returncode, ended.stdout, ended.stderr.count("\n")), (1, "", 1))
        self.assertIn("auth-p 0.1.0 is a plugin of lmqgate", ended.stderr)
        self.assertIn("--debug", ended.stderr)

    def test_a_plugin_under_a_debugger_is_configured_anew_by_each_gateway_that_attaches(self):
        for argument in ("--debug", "--debug=127.0.0.1:0"):
            process = subprocess.Popen([sys.executable, "-c", self.CODE, argument], cwd=self.HERE, stdout=subprocess.PIPE, text=True)
            self.addCleanup(process.wait, 20)
            self.addCleanup(process.stdout.close)
            self.addCleanup(process.kill)
            shown = next(line for line in process.stdout if "--attach-plugin" in line).split("auth=")[1].strip()
            with grpc.insecure_channel(shown) as channel:
                def call(method, request, answer):
                    stub = channel.unary_unary(f"/lmqgate.plugin.v1.Plugin/{method}", lambda m: m.SerializeToString(), answer.FromString)
                    return stub(request, timeout=20)
                for _ in range(2):
                    problems = call("Configure", plugin_pb2.ConfigureRequest(), plugin_pb2.ConfigureResponse).problems
                    self.assertEqual(len(problems), 0)
                    call("Activate", plugin_pb2.ActivateRequest(), plugin_pb2.ActivateResponse)
                    self.assertTrue(call("Health", plugin_pb2.HealthRequest(), plugin_pb2.HealthResponse).ok)
            process.terminate()
            self.assertEqual(process.wait(20), 0)
            if shown.startswith("unix:"):
                self.assertFalse(pathlib.Path(shown.removeprefix("unix:")).parent.exists())

    def test_a_plugin_is_debugged_on_loopback_only(self):
        ended = subprocess.run([sys.executable, "-c", self.CODE, "--debug=0.0.0.0:0"], cwd=self.HERE, capture_output=True, text=True, timeout=60)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("write a loopback address", ended.stderr)


if __name__ == "__main__":
    unittest.main()
