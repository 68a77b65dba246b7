"""What the author of an lmqgate plugin in Python imports, beside the messages in lmqgate.plugin.v1.

A plugin is a program whose main is one call:

    from lmqgate.plugin import AuthPlugin, serve

    class Shop(AuthPlugin):
        name = "auth-shop"
        ...

    serve(Shop())

Handshake, contract versions, the order of the plugin's life, logging in the form that the gateway merges into its own log,
and leaving when the gateway goes away are this package's business. It needs grpcio and protobuf and nothing else, and it is
yours: `lmqgate plugin init` copies it into your project, and you may change it.

What the calls mean is written in the .proto files of lmqgate, plugins/proto.
"""

from .config import Key, Problem, check
from .contract import AuthPlugin, CallError, MetaPlugin, Plugin, Setup
from .log import log
from .serve import serve

__all__ = ["AuthPlugin", "CallError", "Key", "MetaPlugin", "Plugin", "Problem", "Setup", "check", "log", "serve"]
