"""What an application with paho-mqtt relies on: QoS 0 to 2, retained messages, wills, persistent sessions, shared subscriptions.

usage: smoke.py HOST PORT USER SECRET_KEY FIRST_LEVEL_TOPIC VERSION
"""

import base64
import hashlib
import hmac
import queue
import socket
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

HOST, PORT, USER, SECRET, TOPIC, VERSION = sys.argv[1:]
PATIENCE = 60
V5 = VERSION == "5"


class Client:
    """A connected client that keeps what it receives."""

    def __init__(self, name, keep=False, will=None):
        self.id = f"py-{name}-{VERSION}-{TOPIC}"
        self.messages = queue.Queue()
        self.connected = queue.Queue()
        self.subscribed = queue.Queue()
        options = {} if V5 else {"clean_session": not keep}
        self.mqtt = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=self.id,
            protocol=mqtt.MQTTv5 if V5 else mqtt.MQTTv311,
            reconnect_on_failure=False,
            **options,
        )
        password = base64.b64encode(hmac.new(SECRET.encode(), self.id.encode(), hashlib.sha1).digest()).decode()
        self.mqtt.username_pw_set(USER, password)
        if will:
            self.mqtt.will_set(*will)
        self.mqtt.on_message = lambda _c, _u, m: self.messages.put(m)
        self.mqtt.on_connect = lambda _c, _u, flags, reason, _p: self.connected.put((flags, reason))
        self.mqtt.on_subscribe = lambda _c, _u, _m, reasons, _p: self.subscribed.put(reasons)
        options = {}
        if V5:
            options["clean_start"] = not keep
            options["properties"] = Properties(PacketTypes.CONNECT)
            options["properties"].SessionExpiryInterval = 3600 if keep else 0
        self.mqtt.connect(HOST, int(PORT), 60, **options)
        self.mqtt.loop_start()
        flags, reason = self.connected.get(timeout=PATIENCE)
        assert not reason.is_failure, reason
        self.present = flags.session_present

    def subscribe(self, topic, qos):
        self.mqtt.subscribe(topic, qos)
        reasons = self.subscribed.get(timeout=PATIENCE)
        assert [r.value for r in reasons] == [qos], reasons

    def publish(self, topic, payload, qos, retain=False, properties=None):
        self.mqtt.publish(topic, payload, qos, retain, properties).wait_for_publish(PATIENCE)

    def expect(self, topic, payload, qos, retain=False):
        m = self.messages.get(timeout=PATIENCE)
        got = (m.topic, m.payload.decode(), m.qos, m.retain)
        assert got == (topic, payload, qos, retain), f"{got}, not {(topic, payload, qos, retain)}"
        return m

    def leave(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


def properties(publisher, subscriber):
    """What MQTT 5 adds to a message arrives."""
    sent = Properties(PacketTypes.PUBLISH)
    sent.PayloadFormatIndicator = 1
    sent.MessageExpiryInterval = 600
    sent.ContentType = "text/plain"
    sent.ResponseTopic = f"{TOPIC}/answers"
    sent.CorrelationData = b"\x00\x01\xff"
    sent.UserProperty = [("b", "1"), ("a", "ü"), ("b", "1")]
    subscriber.subscribe(f"{TOPIC}/five", 1)
    publisher.publish(f"{TOPIC}/five", "with properties", 1, properties=sent)
    got = subscriber.expect(f"{TOPIC}/five", "with properties", 1).properties
    assert 300 < got.MessageExpiryInterval <= 600, got
    for name in ("PayloadFormatIndicator", "ContentType", "ResponseTopic", "CorrelationData", "UserProperty"):
        assert getattr(got, name) == getattr(sent, name), f"{name}: {got}"


def shared(publisher):
    """Two members of a group get each message once between them."""
    members = [Client(f"member{i}") for i in range(2)]
    for member in members:
        member.subscribe(f"$share/group/{TOPIC}/jobs/#", 1)
    for i in range(40):
        publisher.publish(f"{TOPIC}/jobs/{i % 3}", f"job {i}", 1)
    got = []
    deadline = time.monotonic() + PATIENCE
    while len(got) < 40:
        assert time.monotonic() < deadline, f"{len(got)} of 40 jobs came"
        for member in members:
            try:
                got.append(member.messages.get(timeout=0.05).payload.decode())
            except queue.Empty:
                pass
    assert sorted(got) == sorted(f"job {i}" for i in range(40)), got
    for member in members:
        member.leave()


def main():
    publisher = Client("publisher")
    subscriber = Client("subscriber", keep=True)
    assert not subscriber.present
    subscriber.subscribe(f"{TOPIC}/+/x", 2)
    for qos in (0, 1, 2):
        publisher.publish(f"{TOPIC}/a/x", f"qos {qos}", qos)
        subscriber.expect(f"{TOPIC}/a/x", f"qos {qos}", qos)
    subscriber.leave()
    for i in range(50):
        publisher.publish(f"{TOPIC}/b/x", f"offline {i}", 1)
    subscriber = Client("subscriber", keep=True)
    assert subscriber.present
    for i in range(50):
        subscriber.expect(f"{TOPIC}/b/x", f"offline {i}", 1)

    publisher.publish(f"{TOPIC}/kept", "retained", 1, retain=True)
    late = Client("late")
    late.subscribe(f"{TOPIC}/kept", 1)
    late.expect(f"{TOPIC}/kept", "retained", 1, retain=True)
    publisher.publish(f"{TOPIC}/kept", "", 1, retain=True)
    late.expect(f"{TOPIC}/kept", "", 1)

    late.subscribe(f"{TOPIC}/will", 1)
    victim = Client("victim", will=(f"{TOPIC}/will", "gone", 1))
    victim.mqtt.socket().shutdown(socket.SHUT_RDWR)
    late.expect(f"{TOPIC}/will", "gone", 1)
    if V5:
        properties(publisher, late)
    shared(publisher)
    for client in (publisher, subscriber, late):
        client.leave()
    print("ok")


main()
