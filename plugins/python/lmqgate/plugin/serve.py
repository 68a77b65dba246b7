"""The process of a plugin: its handshake with the gateway, and its end."""

import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from concurrent import futures

import grpc

from .contract import AuthPlugin
from .log import Bridge, log
from .server import MAX_MESSAGE_BYTES, THREADS, Life, handlers

COOKIE = ("LMQGATE_PLUGIN", "b5d1f1c8-lmqgate-plugin-4f0a7a52c9d3")
"""An environment variable that the gateway sets. It is no secret: without it, a person has started the plugin."""

VERSIONS = (1,)
"""The versions of the plugin contract that this package serves."""

LEAVE_SECONDS = 2.0
"""How long a plugin may take to release what it holds when it leaves."""


def serve(plugin):
    """Serves a plugin until the gateway ends it. It is all that the main of a plugin calls, and never returns.

    Started by a person with --debug (or --debug=127.0.0.1:PORT) as its argument, the process waits for a gateway to attach to it,
    prints the command that does, and lives until Ctrl-C: that is how to have it under a debugger.
    """
    started = os.environ.get(COOKIE[0]) == COOKIE[1]
    if not started and sys.argv[1:2] and (sys.argv[1] + "=").startswith("--debug="):
        _debug(plugin, sys.argv[1].partition("=")[2])
    if not started:
        sys.exit(f"{plugin.name} {plugin.version} is a plugin of lmqgate and does nothing by itself: put it in plugins.dir, "
                 "name it in the gateway's configuration, and start `lmqgate serve`; or start it with --debug to attach a gateway to it")
    # Standard output carries one line, the handshake. What prints later goes to the gateway's log.
    stdout, sys.stdout = sys.stdout, sys.stderr
    logging.basicConfig(level=logging.INFO, handlers=[Bridge()], force=True)

    life = Life(plugin)
    # Before anything else: a gateway that dies while this plugin is still starting must not leave it behind.
    threading.Thread(target=_leave_at_end_of_stdin, args=(life,), daemon=True).start()
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())

    version = _version(os.environ.get("PLUGIN_PROTOCOL_VERSIONS", ""))
    # The gateway created this directory for this process, and nobody else can enter it. That replaces TLS: the missing
    # certificate in the handshake line says that TLS is not used.
    address = os.path.join(os.environ.get("PLUGIN_UNIX_SOCKET_DIR") or _directory(), "plugin.sock")
    server, _ = _listen(plugin, life, "unix:" + address)  # held until the end
    stdout.write(f"1|{version}|unix|{address}|grpc\n")
    stdout.flush()
    asked.wait()
    _leave(life)


def _listen(plugin, life, address):
    """Starts a gRPC server with its own threads, and returns it and its port. It stops when nothing references it."""
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=THREADS),
        handlers=handlers(plugin, life),
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ],
    )
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if port == 0:
        sys.exit(f"{plugin.name}: cannot listen on {address}")
    server.start()
    return server, port


def _directory():
    """A directory that only this user can enter."""
    return tempfile.mkdtemp(prefix="lmqgate-plugin-")


def _debug(plugin, address):
    """Serves a plugin that a person has started. A gateway attaches to it without TLS, and may do so again: configure is then
    called again."""
    life = Life(plugin, debugged=True)
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    if address:
        host = address.rpartition(":")[0]
        if host not in ("localhost", "[::1]") and not host.startswith("127."):
            sys.exit(f"--debug={address}: write a loopback address, such as 127.0.0.1:0")
        server, port = _listen(plugin, life, address)
        shown = f"{host}:{port}"
    else:
        shown = "unix:" + os.path.join(_directory(), plugin.name)
        server, _ = _listen(plugin, life, shown)
    kind = "auth" if isinstance(plugin, AuthPlugin) else "meta"
    print(f"{plugin.name} waits for a gateway. In another terminal, with {kind}.plugin and {kind}.config as they should be in FILE:\n\n"
          f"  lmqgate serve --config FILE --attach-plugin {kind}={shown}\n\nCtrl-C ends it.", flush=True)
    asked.wait()
    if not address:
        shutil.rmtree(os.path.dirname(shown.removeprefix("unix:")), ignore_errors=True)
    _leave(life)


def _version(offered):
    """The newest contract version that both sides know. If there is none, ours: the gateway then refuses it and says why."""
    known = [v for v in VERSIONS if str(v) in offered.split(",")]
    return max(known or VERSIONS)


def _leave_at_end_of_stdin(life):
    """The gateway holds the other end of standard input. When it ends, the gateway is gone or is stopping the plugin."""
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
