"""The process around a plugin: how it and the gateway find one another, and how it ends."""

import logging
import os
import signal
import sys
import tempfile
import threading
from concurrent import futures

import grpc

from .log import Bridge, log
from .server import MAX_MESSAGE_BYTES, THREADS, Life, handlers

COOKIE = ("LMQGATE_PLUGIN", "b5d1f1c8-lmqgate-plugin-4f0a7a52c9d3")
"""An environment variable that the gateway sets. It is no secret: without it, a person has started the plugin."""

VERSIONS = (1,)
"""The versions of the plugin contract that this package serves."""

LEAVE_SECONDS = 2.0
"""How long a plugin whose gateway is gone may take to release what it holds."""


def serve(plugin):
    """Serves a plugin until the gateway ends it. It is the whole main of a plugin, and never returns."""
    if os.environ.get(COOKIE[0]) != COOKIE[1]:
        sys.exit(f"{plugin.name} {plugin.version} is a plugin of lmqgate and does nothing by itself: put it in plugins.dir, "
                 "name it in the gateway's configuration, and start `lmqgate serve`")
    # Standard output carries one line, the handshake. What prints later goes to the gateway's log.
    stdout, sys.stdout = sys.stdout, sys.stderr
    logging.basicConfig(level=logging.INFO, handlers=[Bridge()], force=True)

    life = Life(plugin)
    # Before anything else: a gateway that dies while this plugin is still starting must not leave it behind.
    threading.Thread(target=_leave_at_end_of_stdin, args=(life,), daemon=True).start()
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())

    version = _version(os.environ.get("PLUGIN_PROTOCOL_VERSIONS", ""))
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=THREADS),
        handlers=handlers(plugin, life),
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ],
    )
    # The gateway made this directory for this process, and nobody else can enter it: that is what stands in for TLS, which
    # the empty rest of the handshake line says is not used.
    directory = os.environ.get("PLUGIN_UNIX_SOCKET_DIR") or tempfile.mkdtemp(prefix="lmqgate-plugin-")
    address = os.path.join(directory, "plugin.sock")
    if server.add_insecure_port("unix:" + address) == 0:
        sys.exit(f"{plugin.name}: cannot listen on {address}")
    server.start()
    stdout.write(f"1|{version}|unix|{address}|grpc\n")
    stdout.flush()
    asked.wait()
    _leave(life)


def _version(offered):
    """The newest contract version that both sides know. Where there is none, the gateway reads ours and says so."""
    known = [v for v in VERSIONS if str(v) in offered.split(",")]
    return max(known or VERSIONS)


def _leave_at_end_of_stdin(life):
    """The gateway holds the other end of standard input. When it ends, the gateway is gone or wants the plugin to go."""
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    _leave(life)


def _leave(life):
    """Releases what the plugin holds, within LEAVE_SECONDS, and ends the process whatever its threads do."""

    def release():
        try:
            life.deactivate()
        except Exception:
            log.exception("plugin could not release what it held")

    thread = threading.Thread(target=release, daemon=True)
    thread.start()
    thread.join(LEAVE_SECONDS)
    os._exit(0)
