"""What the author of an lmqgate plugin in Python imports, together with the messages in lmqgate.plugin.v1.

A plugin is a program whose main is one call:

    from lmqgate.plugin import AuthPlugin, serve

    class Shop(AuthPlugin):
        name = "auth-shop"
        ...

    serve(Shop())

This package handles the handshake, contract versions, the life cycle, logging in the form that the gateway merges into its
own log, and the exit when the gateway is gone. It needs only grpcio and protobuf. It is
yours: `lmqgate plugin init` copies it into your project, and you may change it.

The .proto files of lmqgate, plugins/proto, define the calls.
"""

from .config import Key, Problem, check
from .contract import AuthPlugin, CallError, MetaPlugin, Plugin, Setup
from .log import log
from .serve import serve

__all__ = ["AuthPlugin", "CallError", "Key", "MetaPlugin", "Plugin", "Problem", "Setup", "check", "log", "serve"]
