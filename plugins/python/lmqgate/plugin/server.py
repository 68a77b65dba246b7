"""The services of the contract over gRPC, and the life cycle of a plugin."""

import json
import threading

import grpc
from google.protobuf import message_factory

from .config import check
from .contract import AuthPlugin, CallError, MetaPlugin, Setup
from .log import log
from .v1 import auth_pb2, meta_pb2, plugin_pb2

MAX_MESSAGE_BYTES = 16 << 20
"""Bounds one gRPC message in either direction."""

THREADS = 64
"""Concurrent calls; each open stream counts as one. The gateway keeps at most about ten streams open."""


class Life:
    """The life cycle of the plugin: calls of its kind pass only while it is active, and deactivate waits for calls
    in progress."""

    def __init__(self, plugin, debugged=False):
        self.plugin = plugin
        self.debugged = debugged  # gateways come and go, so a plugin that is configured already takes another configuration
        self.steps = threading.Lock()  # one step at a time; taken before changed
        self.configured = False
        self.changed = threading.Condition()  # guards the fields below
        self.active = False
        self.calls = 0
        self.streams = set()  # the events that end them

    def enter(self, ended=None):
        with self.changed:
            if not self.active:
                raise CallError(grpc.StatusCode.UNAVAILABLE, "the plugin is not active")
            self.calls += 1
            if ended is not None:
                self.streams.add(ended)

    def leave(self, ended=None):
        with self.changed:
            self.calls -= 1
            self.streams.discard(ended)
            self.changed.notify_all()

    def configure(self, request):
        with self.steps:
            if self.configured and self.debugged:
                self._release()
            elif self.configured:
                raise CallError(grpc.StatusCode.FAILED_PRECONDITION, "the plugin is configured already")
            try:
                config = json.loads(request.config_json or b"{}")
            except ValueError as wrong:
                config, problems = {}, [plugin_pb2.ConfigProblem(message=f"not valid JSON: {wrong}")]
            else:
                problems = check(config, self.plugin.keys)
            if not problems:
                setup = Setup(config, request.node_id, request.data_dir, request.config_dir)
                problems = self.plugin.configure(setup) or []
            self.configured = not problems
            return plugin_pb2.ConfigureResponse(
                problems=[plugin_pb2.ConfigProblem(key=p.key, message=p.message) for p in problems]
            )

    def activate(self):
        with self.steps:
            if not self.configured:
                raise CallError(grpc.StatusCode.FAILED_PRECONDITION, "Configure must come before Activate")
            if self.active:
                return
            try:
                self.plugin.activate()
            except CallError:
                raise
            except Exception as wrong:
                log.exception("plugin could not be activated")
                raise CallError(grpc.StatusCode.FAILED_PRECONDITION, one_line(wrong)) from wrong
            with self.changed:
                self.active = True

    def deactivate(self):
        with self.steps:
            self._release()

    def _release(self):
        with self.changed:
            if not self.active:
                return
            self.active = False
            for ended in self.streams:
                ended.set()
            self.changed.wait_for(lambda: self.calls == 0)
        self.plugin.deactivate()

    def health(self):
        if not self.active:
            return plugin_pb2.HealthResponse(reason="not active")
        try:
            reason = self.plugin.health() or ""
        except Exception as wrong:
            reason = one_line(wrong)
        return plugin_pb2.HealthResponse(ok=not reason, reason=one_line(reason))


def one_line(text):
    return " ".join(str(text).split())


def describe(plugin):
    """The answer to Describe."""
    answer = plugin_pb2.DescribeResponse(
        name=plugin.name,
        version=plugin.version,
        exclusive=plugin.exclusive,
        config_keys=[
            plugin_pb2.ConfigKey(
                path=key.path, type=key.type, required=key.required, secret=key.secret, description=key.description,
                default="" if key.default is None else str(key.default),
            )
            for key in plugin.keys
        ],
    )
    if isinstance(plugin, AuthPlugin):
        answer.kind = plugin_pb2.KIND_AUTH
        answer.auth.methods.extend(plugin.methods)
        answer.auth.revocations = plugin.revocations is not None
        if plugin.judges_foreign_clients:
            answer.auth.foreign_clients = plugin_pb2.FOREIGN_CLIENTS_JUDGE
    elif isinstance(plugin, MetaPlugin):
        answer.kind = plugin_pb2.KIND_META
        answer.meta.CopyFrom(plugin.traits)
    else:
        raise TypeError("a plugin derives from AuthPlugin or MetaPlugin")
    return answer


def handlers(plugin, life):
    """The handlers of the gRPC server."""
    steps = {
        "Describe": lambda request: describe(plugin),
        "Configure": life.configure,
        "Activate": lambda request: life.activate() or plugin_pb2.ActivateResponse(),
        "Deactivate": lambda request: life.deactivate() or plugin_pb2.DeactivateResponse(),
        "Health": lambda request: life.health(),
    }
    kind, methods = _kind(plugin)
    return [
        _service(plugin_pb2.DESCRIPTOR.services_by_name["Plugin"], steps, life, guarded=False),
        _service(kind, methods, life, guarded=True),
        _health_service(),
    ]


def _kind(plugin):
    """The service of the plugin's kind, and the functions of its methods; a missing one is UNIMPLEMENTED."""
    if isinstance(plugin, AuthPlugin):
        service = auth_pb2.DESCRIPTOR.services_by_name["Auth"]
        revocations = plugin.revocations and (lambda request, ended: plugin.revocations(ended))
        methods = {"Authenticate": plugin.authenticate, "Authorize": plugin.authorize, "Exchange": plugin.exchange,
                   "Revocations": revocations}
    else:
        service = meta_pb2.DESCRIPTOR.services_by_name["Meta"]
        methods = {"Get": plugin.get, "List": lambda request, ended: plugin.list(request), "Put": plugin.put,
                   "Delete": plugin.delete, "Batch": plugin.batch, "Watch": plugin.watch}
    return service, {name: method for name, method in methods.items() if method}


def _service(service, functions, life, guarded):
    methods = {}
    for method in service.methods:
        function = functions.get(method.name)
        if function is None:
            continue
        request = message_factory.GetMessageClass(method.input_type)
        coding = {"request_deserializer": request.FromString, "response_serializer": lambda answer: answer.SerializeToString()}
        if method.server_streaming:
            methods[method.name] = grpc.unary_stream_rpc_method_handler(_stream(method.name, function, life), **coding)
        else:
            methods[method.name] = grpc.unary_unary_rpc_method_handler(_call(method.name, function, life, guarded), **coding)
    return grpc.method_handlers_generic_handler(service.full_name, methods)


def _call(name, function, life, guarded):
    def call(request, context):
        try:
            if not guarded:
                return function(request)
            life.enter()
            try:
                return function(request)
            finally:
                life.leave()
        except Exception as wrong:
            _abort(context, name, wrong)

    return call


def _stream(name, function, life):
    def stream(request, context):
        ended = threading.Event()  # set when the caller goes away, or the plugin is deactivated
        try:
            life.enter(ended)
            try:
                if context.add_callback(ended.set):
                    yield from function(request, ended)
            finally:
                life.leave(ended)
        except Exception as wrong:
            _abort(context, name, wrong)

    return stream


def _abort(context, name, wrong):
    """Turns an exception of the plugin's code into an error of the call, so that one bad call does not end the plugin."""
    if isinstance(wrong, CallError):
        context.abort(wrong.code, one_line(wrong))
    if isinstance(wrong, NotImplementedError):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{name} is not implemented")
    log.exception("plugin failed in a call", method=name)
    context.abort(grpc.StatusCode.INTERNAL, f"the plugin failed in {name}; its log has the traceback")


def _health_service():
    """grpc.health.v1.Health reports that the process serves; Plugin.Health reports whether it can do its work."""
    serving = b"\x08\x01"  # HealthCheckResponse{status: SERVING}
    check_handler = grpc.unary_unary_rpc_method_handler(lambda request, context: serving)
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check_handler})
