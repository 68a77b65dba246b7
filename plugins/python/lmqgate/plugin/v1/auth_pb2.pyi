from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_OK: _ClassVar[Reason]
    REASON_BAD_CREDENTIALS: _ClassVar[Reason]
    REASON_NOT_AUTHORIZED: _ClassVar[Reason]
    REASON_BAD_CLIENT_ID: _ClassVar[Reason]
    REASON_BANNED: _ClassVar[Reason]
    REASON_UNAVAILABLE: _ClassVar[Reason]

class ActionKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_KIND_UNSPECIFIED: _ClassVar[ActionKind]
    ACTION_KIND_PUBLISH: _ClassVar[ActionKind]
    ACTION_KIND_SUBSCRIBE: _ClassVar[ActionKind]
REASON_OK: Reason
REASON_BAD_CREDENTIALS: Reason
REASON_NOT_AUTHORIZED: Reason
REASON_BAD_CLIENT_ID: Reason
REASON_BANNED: Reason
REASON_UNAVAILABLE: Reason
ACTION_KIND_UNSPECIFIED: ActionKind
ACTION_KIND_PUBLISH: ActionKind
ACTION_KIND_SUBSCRIBE: ActionKind

class Connection(_message.Message):
    __slots__ = ("client_id", "has_username", "username", "mqtt_version", "listener", "remote_address", "peer_certificate")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    HAS_USERNAME_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    MQTT_VERSION_FIELD_NUMBER: _ClassVar[int]
    LISTENER_FIELD_NUMBER: _ClassVar[int]
    REMOTE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PEER_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    has_username: bool
    username: str
    mqtt_version: int
    listener: str
    remote_address: str
    peer_certificate: PeerCertificate
    def __init__(self, client_id: _Optional[str] = ..., has_username: bool = ..., username: _Optional[str] = ..., mqtt_version: _Optional[int] = ..., listener: _Optional[str] = ..., remote_address: _Optional[str] = ..., peer_certificate: _Optional[_Union[PeerCertificate, _Mapping]] = ...) -> None: ...

class PeerCertificate(_message.Message):
    __slots__ = ("chain", "subject", "common_name", "dns_names", "uris", "sha256")
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    COMMON_NAME_FIELD_NUMBER: _ClassVar[int]
    DNS_NAMES_FIELD_NUMBER: _ClassVar[int]
    URIS_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    subject: str
    common_name: str
    dns_names: _containers.RepeatedScalarFieldContainer[str]
    uris: _containers.RepeatedScalarFieldContainer[str]
    sha256: str
    def __init__(self, chain: _Optional[_Iterable[bytes]] = ..., subject: _Optional[str] = ..., common_name: _Optional[str] = ..., dns_names: _Optional[_Iterable[str]] = ..., uris: _Optional[_Iterable[str]] = ..., sha256: _Optional[str] = ...) -> None: ...

class AuthenticateRequest(_message.Message):
    __slots__ = ("connection", "has_password", "password")
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    HAS_PASSWORD_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    connection: Connection
    has_password: bool
    password: bytes
    def __init__(self, connection: _Optional[_Union[Connection, _Mapping]] = ..., has_password: bool = ..., password: _Optional[bytes] = ...) -> None: ...

class AuthenticateResponse(_message.Message):
    __slots__ = ("reason", "detail", "identity", "attributes", "expires_at_ms", "rights")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    RIGHTS_FIELD_NUMBER: _ClassVar[int]
    reason: Reason
    detail: str
    identity: str
    attributes: _containers.ScalarMap[str, str]
    expires_at_ms: int
    rights: Rights
    def __init__(self, reason: _Optional[_Union[Reason, str]] = ..., detail: _Optional[str] = ..., identity: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ..., expires_at_ms: _Optional[int] = ..., rights: _Optional[_Union[Rights, _Mapping]] = ...) -> None: ...

class AuthenticateAllRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[AuthenticateRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[AuthenticateRequest, _Mapping]]] = ...) -> None: ...

class AuthenticateAllResponse(_message.Message):
    __slots__ = ("responses",)
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[AuthenticateResponse]
    def __init__(self, responses: _Optional[_Iterable[_Union[AuthenticateResponse, _Mapping]]] = ...) -> None: ...

class Rights(_message.Message):
    __slots__ = ("cache_ms", "rights")
    CACHE_MS_FIELD_NUMBER: _ClassVar[int]
    RIGHTS_FIELD_NUMBER: _ClassVar[int]
    cache_ms: int
    rights: _containers.RepeatedCompositeFieldContainer[Right]
    def __init__(self, cache_ms: _Optional[int] = ..., rights: _Optional[_Iterable[_Union[Right, _Mapping]]] = ...) -> None: ...

class Right(_message.Message):
    __slots__ = ("allow", "publish", "subscribe", "filter")
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    allow: bool
    publish: bool
    subscribe: bool
    filter: str
    def __init__(self, allow: bool = ..., publish: bool = ..., subscribe: bool = ..., filter: _Optional[str] = ...) -> None: ...

class Client(_message.Message):
    __slots__ = ("connection", "identity", "attributes", "admitted_by")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_BY_FIELD_NUMBER: _ClassVar[int]
    connection: Connection
    identity: str
    attributes: _containers.ScalarMap[str, str]
    admitted_by: str
    def __init__(self, connection: _Optional[_Union[Connection, _Mapping]] = ..., identity: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ..., admitted_by: _Optional[str] = ...) -> None: ...

class Action(_message.Message):
    __slots__ = ("kind", "topic", "qos", "retain", "share_group")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    QOS_FIELD_NUMBER: _ClassVar[int]
    RETAIN_FIELD_NUMBER: _ClassVar[int]
    SHARE_GROUP_FIELD_NUMBER: _ClassVar[int]
    kind: ActionKind
    topic: str
    qos: int
    retain: bool
    share_group: str
    def __init__(self, kind: _Optional[_Union[ActionKind, str]] = ..., topic: _Optional[str] = ..., qos: _Optional[int] = ..., retain: bool = ..., share_group: _Optional[str] = ...) -> None: ...

class AuthorizeRequest(_message.Message):
    __slots__ = ("client", "actions")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    client: Client
    actions: _containers.RepeatedCompositeFieldContainer[Action]
    def __init__(self, client: _Optional[_Union[Client, _Mapping]] = ..., actions: _Optional[_Iterable[_Union[Action, _Mapping]]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("allow", "cache_ms", "depends_on_qos_retain", "detail")
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    CACHE_MS_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_ON_QOS_RETAIN_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    allow: bool
    cache_ms: int
    depends_on_qos_retain: bool
    detail: str
    def __init__(self, allow: bool = ..., cache_ms: _Optional[int] = ..., depends_on_qos_retain: bool = ..., detail: _Optional[str] = ...) -> None: ...

class AuthorizeResponse(_message.Message):
    __slots__ = ("decisions",)
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    def __init__(self, decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ...) -> None: ...

class ExchangeRequest(_message.Message):
    __slots__ = ("exchange_id", "method", "data", "connection", "reauthenticate", "abandon")
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    REAUTHENTICATE_FIELD_NUMBER: _ClassVar[int]
    ABANDON_FIELD_NUMBER: _ClassVar[int]
    exchange_id: str
    method: str
    data: bytes
    connection: Connection
    reauthenticate: bool
    abandon: bool
    def __init__(self, exchange_id: _Optional[str] = ..., method: _Optional[str] = ..., data: _Optional[bytes] = ..., connection: _Optional[_Union[Connection, _Mapping]] = ..., reauthenticate: bool = ..., abandon: bool = ...) -> None: ...

class ExchangeResponse(_message.Message):
    __slots__ = ("more", "data", "result")
    MORE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    more: bool
    data: bytes
    result: AuthenticateResponse
    def __init__(self, more: bool = ..., data: _Optional[bytes] = ..., result: _Optional[_Union[AuthenticateResponse, _Mapping]] = ...) -> None: ...

class RevocationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Revocation(_message.Message):
    __slots__ = ("client_id", "username", "identity", "disconnect", "detail")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    DISCONNECT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    username: str
    identity: str
    disconnect: bool
    detail: str
    def __init__(self, client_id: _Optional[str] = ..., username: _Optional[str] = ..., identity: _Optional[str] = ..., disconnect: bool = ..., detail: _Optional[str] = ...) -> None: ...
