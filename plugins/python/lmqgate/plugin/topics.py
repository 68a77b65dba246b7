"""Compares MQTT topic names and topic filters (MQTT 5.0, section 4.7).

Everywhere a wildcard in the first level does not match a first level that begins with "$" (MQTT 4.7.2).
"""

from .v1 import auth_pb2


def validate(topic_filter):
    """Says what is wrong with a topic filter (MQTT 4.7.1, 4.7.3); "" when nothing is."""
    levels = topic_filter.split("/")
    for i, level in enumerate(levels):
        if level == "#" and i < len(levels) - 1:
            return "# must be the last level of a topic filter"
        if level not in ("#", "+") and ("#" in level or "+" in level):
            return "+ and # must be a whole level of a topic filter"
    return _text("filter", topic_filter)


def validate_name(name):
    """Says what is wrong with a topic name (MQTT 4.7.1, 4.7.3); "" when nothing is."""
    if "+" in name or "#" in name:
        return "a topic name must not contain + or #"
    return _text("name", name)


def _text(what, topic):
    if not topic:
        return f"a topic {what} must not be empty"
    if len(topic.encode("utf-8", "surrogatepass")) > 65535:
        return f"a topic {what} must not be longer than 65535 bytes"
    if "\0" in topic:
        return f"a topic {what} must not contain the NUL character"
    return ""


def validate_action(action):
    """Says what is wrong with an auth_pb2.Action; "" when nothing is. An action that MQTT does not know, or with a topic that it
    forbids, must never be allowed."""
    if action.kind == auth_pb2.ACTION_KIND_PUBLISH:
        return validate_name(action.topic)
    if action.kind == auth_pb2.ACTION_KIND_SUBSCRIBE:
        return validate(action.topic)
    return f"unknown kind of action {action.kind}"


def match(topic_filter, name):
    """Whether the filter matches the topic name. A name with wildcard characters is invalid, and nothing matches it."""
    return "+" not in name and "#" not in name and covers(topic_filter, name)


def covers(rule, topic_filter):
    """Whether rule matches every topic name that topic_filter matches. An allow rule decides by it."""
    if rule == "+/#" and topic_filter == "#":
        return True  # the same set: every name has a first level
    ours, theirs = rule.split("/"), topic_filter.split("/")
    for i, level in enumerate(ours):
        other = theirs[i] if i < len(theirs) else None
        if level == "#":
            return i > 0 or not _hidden(other)
        if other is None or other == "#":
            return False
        if level == "+":
            if i == 0 and _hidden(other):
                return False
        elif level != other:
            return False
    return len(ours) == len(theirs)


def overlaps(a, b):
    """Whether there is a topic name that both filters match. A deny rule decides by it."""
    ours, theirs = a.split("/"), b.split("/")
    for i in range(max(len(ours), len(theirs))):
        one = ours[i] if i < len(ours) else None
        two = theirs[i] if i < len(theirs) else None
        if one == "#":
            return i > 0 or not _hidden(two)
        if two == "#":
            return i > 0 or not _hidden(one)
        if one is None or two is None:
            return False
        if one == "+" or two == "+":
            if i == 0 and (_hidden(one) or _hidden(two)):
                return False
        elif one != two:
            return False
    return True


def _hidden(level):
    return level is not None and level.startswith("$")
