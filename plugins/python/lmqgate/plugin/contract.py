"""The base classes of plugins, and the arguments of their methods."""

import os
from dataclasses import dataclass

import grpc


@dataclass
class Setup:
    """The argument of configure."""

    config: dict
    """The plugin's block of the gateway's configuration."""
    node_id: str
    """Id of the gateway node that runs this plugin."""
    data_dir: str
    """Absolute path of the gateway's data directory; a plugin keeps its own files below it unless configured otherwise."""
    config_dir: str
    """Absolute path of the directory that relative paths in the configuration are relative to."""

    def path(self, path):
        """Resolves a path from the configuration. "" stays ""."""
        return os.path.join(self.config_dir, path) if path else path


class CallError(Exception):
    """Raised by a call that has no answer: code is a grpc.StatusCode, message one line without any secret.

    A denial, or an expectation that does not hold, is an answer, and no CallError. Any other exception is answered as
    INTERNAL and logged with its traceback.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code


class Plugin:
    """The base class of all plugins. The order of the calls:

        configure (once) -> activate -> calls of the kind, health -> deactivate

    Calls of the kind arrive concurrently from several threads. None arrives before activate has returned, and none is active when
    deactivate is called; deactivate may be followed by activate again.
    """

    name = ""
    """As written in the gateway's configuration. It is also the name of the executable."""
    version = "0.1.0"
    """Of the plugin's own code, shown to operators only."""
    exclusive = False
    """True if activate takes something that a second process cannot hold at the same time, such as a locked file."""
    keys = []
    """The configuration, as a list of Key. It is checked before configure is called."""

    def configure(self, setup: Setup) -> list:
        """Validates the configuration beyond its keys and types, and keeps it. It opens nothing exclusive.

        Returns a list of Problem; none: accepted.
        """
        return []

    def activate(self):
        """Opens what only one process can hold and makes the plugin ready for calls.

        It must not wait for a service that may come back later: the plugin then activates, and health says what is missing.
        An exception says what cannot be opened.
        """

    def deactivate(self):
        """Releases what activate opened."""

    def health(self) -> str:
        """Says in one line why the plugin cannot do its work now; "" when it can. It must return at once."""
        return ""


class AuthPlugin(Plugin):
    """Decides who may connect, publish and subscribe. Messages are documented in auth.proto."""

    judges_foreign_clients = False
    """True: authorize decides about clients that another plugin admitted before a swap; False: they may do nothing."""
    methods = []
    """The MQTT 5 authentication methods that exchange serves, for instance "SCRAM-SHA-256"."""

    def authenticate(self, request):
        """auth_pb2.AuthenticateRequest -> auth_pb2.AuthenticateResponse"""
        raise NotImplementedError

    def authorize(self, request):
        """auth_pb2.AuthorizeRequest -> auth_pb2.AuthorizeResponse with one decision for each action, in order"""
        raise NotImplementedError

    exchange = None
    """Define exchange(self, request) to serve auth_pb2.ExchangeRequest -> auth_pb2.ExchangeResponse."""

    revocations = None
    """Define revocations(self, ended) to yield auth_pb2.Revocation until the threading.Event ended is set."""


class MetaPlugin(Plugin):
    """Keeps the gateway's metadata. Messages and status codes are documented in meta.proto."""

    traits = None
    """plugin_pb2.MetaTraits: what the backend can do, and its limits."""

    def get(self, request):
        """meta_pb2.GetRequest -> meta_pb2.GetResponse"""
        raise NotImplementedError

    def list(self, request):
        """meta_pb2.ListRequest -> yields meta_pb2.ListResponse, at least one"""
        raise NotImplementedError

    def put(self, request):
        """meta_pb2.PutRequest -> meta_pb2.PutResponse"""
        raise NotImplementedError

    def delete(self, request):
        """meta_pb2.DeleteRequest -> meta_pb2.DeleteResponse"""
        raise NotImplementedError

    def batch(self, request):
        """meta_pb2.BatchRequest -> meta_pb2.BatchResponse"""
        raise NotImplementedError

    watch = None
    """Define watch(self, request, ended) to yield meta_pb2.WatchResponse until the threading.Event ended is set."""
