"""Checks a configuration block against a list of keys, so that the error about a mistake names the key."""

import difflib
import re
from dataclasses import dataclass


@dataclass
class Problem:
    """One error in the configuration."""

    key: str
    """Dotted path within the block, for instance "users[0].password"; "" for the block as a whole."""
    message: str
    """What is wrong and what to do, without any secret."""


@dataclass
class Key:
    """One key of the configuration."""

    path: str
    """Dotted; "users[].name" is a key of each block in the list "users"."""
    type: str = "string"
    """"string", "int", "float", "bool", "duration" (seconds, once read), "list" or "map"."""
    required: bool = False
    secret: bool = False
    description: str = ""
    default: object = None
    """The default value; None for none."""


class _Block:
    """The keys of one level: each name has a Key or, where there are keys below it, a _Block."""

    def __init__(self):
        self.keys = {}
        self.below = {}


def _tree(keys):
    root = _Block()
    for key in keys:
        block = root
        *parents, last = key.path.split(".")
        for part in parents:
            block = block.below.setdefault(part.removesuffix("[]"), _Block())
        block.keys[last] = key
    return root


def check(config, keys):
    """Checks config against keys and returns every Problem, not only the first. Values are read in place: durations become
    seconds, text that reads as a number or a boolean becomes one where the type wants it (environment variables are text),
    and defaults are filled in. No problem repeats a value."""
    problems = []
    _block("", config, _tree(keys), problems)
    return problems


def _block(path, config, block, problems):
    known = list(dict.fromkeys([*block.keys, *block.below]))
    for name in config:
        if name not in known:
            problems.append(Problem(_join(path, name), _unknown(name, known)))
    for name in known:
        key, below, at = block.keys.get(name), block.below.get(name), _join(path, name)
        value = config.get(name)
        if value is None or (value == "" and key and key.required):
            if key and key.required:
                problems.append(Problem(at, "is required"))
            elif key and key.default is not None:
                config[name] = _value(key.type, key.default)
            elif below and not key:
                config[name] = {}
                _block(at, config[name], below, problems)
            continue
        if below:
            if key is None:
                if not isinstance(value, dict):
                    problems.append(Problem(at, "must be a block of keys"))
                else:
                    _block(at, value, below, problems)
            elif not isinstance(value, list):
                problems.append(Problem(at, "must be a list"))
            else:
                for i, item in enumerate(value):
                    if isinstance(item, dict):
                        _block(f"{at}[{i}]", item, below, problems)
                    else:
                        problems.append(Problem(f"{at}[{i}]", "must be a block of keys"))
            continue
        try:
            config[name] = _value(key.type, value)
        except ValueError as wrong:
            problems.append(Problem(at, str(wrong)))


def _join(path, name):
    return f"{path}.{name}" if path else str(name)


def _unknown(name, known):
    near = difflib.get_close_matches(str(name), known, n=1)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return "unknown key; known are " + ", ".join(known) if known else "unknown key; no keys are known here"


def _value(kind, value):
    if kind == "string":
        # A number is not accepted as a text: YAML may have read 0123 as 83.
        if not isinstance(value, str):
            raise ValueError("must be a string; put it in quotes")
        return value
    if kind == "bool":
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value
    if kind in ("int", "float"):
        if not isinstance(value, bool):
            try:
                return int(str(value)) if kind == "int" else float(value)
            except (TypeError, ValueError):
                pass
        raise ValueError("must be a whole number" if kind == "int" else "must be a number")
    if kind == "duration":
        return _seconds(value)
    if kind == "list" and not isinstance(value, list):
        raise ValueError("must be a list")
    if kind == "map" and not isinstance(value, dict):
        raise ValueError("must be a block of keys")
    return value


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|ns)")


def _seconds(value):
    if value in (0, "0") and not isinstance(value, bool):
        return 0.0
    text = value if isinstance(value, str) else ""
    rest = text.removeprefix("-")
    if not re.fullmatch(f"(?:{_PART.pattern})+", rest):
        raise ValueError("must be a duration with a unit, such as 500ms, 3s or 2h")
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(rest))
    return -total if text != rest else total
