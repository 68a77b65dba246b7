from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    KIND_AUTH: _ClassVar[Kind]
    KIND_META: _ClassVar[Kind]

class ForeignClients(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FOREIGN_CLIENTS_DENY: _ClassVar[ForeignClients]
    FOREIGN_CLIENTS_JUDGE: _ClassVar[ForeignClients]
KIND_UNSPECIFIED: Kind
KIND_AUTH: Kind
KIND_META: Kind
FOREIGN_CLIENTS_DENY: ForeignClients
FOREIGN_CLIENTS_JUDGE: ForeignClients

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("name", "version", "kind", "config_keys", "exclusive", "auth", "meta")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CONFIG_KEYS_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIVE_FIELD_NUMBER: _ClassVar[int]
    AUTH_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    kind: Kind
    config_keys: _containers.RepeatedCompositeFieldContainer[ConfigKey]
    exclusive: bool
    auth: AuthTraits
    meta: MetaTraits
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., kind: _Optional[_Union[Kind, str]] = ..., config_keys: _Optional[_Iterable[_Union[ConfigKey, _Mapping]]] = ..., exclusive: bool = ..., auth: _Optional[_Union[AuthTraits, _Mapping]] = ..., meta: _Optional[_Union[MetaTraits, _Mapping]] = ...) -> None: ...

class ConfigKey(_message.Message):
    __slots__ = ("path", "type", "required", "secret", "description", "default")
    PATH_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    path: str
    type: str
    required: bool
    secret: bool
    description: str
    default: str
    def __init__(self, path: _Optional[str] = ..., type: _Optional[str] = ..., required: bool = ..., secret: bool = ..., description: _Optional[str] = ..., default: _Optional[str] = ...) -> None: ...

class AuthTraits(_message.Message):
    __slots__ = ("foreign_clients", "methods", "revocations", "authenticate_all")
    FOREIGN_CLIENTS_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    AUTHENTICATE_ALL_FIELD_NUMBER: _ClassVar[int]
    foreign_clients: ForeignClients
    methods: _containers.RepeatedScalarFieldContainer[str]
    revocations: bool
    authenticate_all: bool
    def __init__(self, foreign_clients: _Optional[_Union[ForeignClients, str]] = ..., methods: _Optional[_Iterable[str]] = ..., revocations: bool = ..., authenticate_all: bool = ...) -> None: ...

class MetaTraits(_message.Message):
    __slots__ = ("watch", "compare_and_set", "ttl", "atomic_batch", "max_value_bytes", "max_keys", "max_total_bytes", "shared")
    WATCH_FIELD_NUMBER: _ClassVar[int]
    COMPARE_AND_SET_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    ATOMIC_BATCH_FIELD_NUMBER: _ClassVar[int]
    MAX_VALUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_KEYS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    watch: bool
    compare_and_set: bool
    ttl: bool
    atomic_batch: bool
    max_value_bytes: int
    max_keys: int
    max_total_bytes: int
    shared: bool
    def __init__(self, watch: bool = ..., compare_and_set: bool = ..., ttl: bool = ..., atomic_batch: bool = ..., max_value_bytes: _Optional[int] = ..., max_keys: _Optional[int] = ..., max_total_bytes: _Optional[int] = ..., shared: bool = ...) -> None: ...

class ConfigureRequest(_message.Message):
    __slots__ = ("config_json", "node_id", "data_dir", "config_dir")
    CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_DIR_FIELD_NUMBER: _ClassVar[int]
    CONFIG_DIR_FIELD_NUMBER: _ClassVar[int]
    config_json: bytes
    node_id: str
    data_dir: str
    config_dir: str
    def __init__(self, config_json: _Optional[bytes] = ..., node_id: _Optional[str] = ..., data_dir: _Optional[str] = ..., config_dir: _Optional[str] = ...) -> None: ...

class ConfigureResponse(_message.Message):
    __slots__ = ("problems",)
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedCompositeFieldContainer[ConfigProblem]
    def __init__(self, problems: _Optional[_Iterable[_Union[ConfigProblem, _Mapping]]] = ...) -> None: ...

class ConfigProblem(_message.Message):
    __slots__ = ("key", "message")
    KEY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    key: str
    message: str
    def __init__(self, key: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ActivateRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ActivateResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeactivateRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeactivateResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HealthRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HealthResponse(_message.Message):
    __slots__ = ("ok", "reason")
    OK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    reason: str
    def __init__(self, ok: bool = ..., reason: _Optional[str] = ...) -> None: ...
