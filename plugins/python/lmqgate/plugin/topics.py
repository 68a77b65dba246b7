"""Compares MQTT topic names and topic filters (MQTT 5.0, section 4.7).

Everywhere a wildcard in the first level does not match a first level that begins with "$" (MQTT 4.7.2).
"""


def validate(topic_filter):
    """Says what is wrong with a topic filter (MQTT 4.7.1, 4.7.3); "" when nothing is."""
    if not topic_filter:
        return "a topic filter must not be empty"
    if len(topic_filter.encode("utf-8", "surrogatepass")) > 65535:
        return "a topic filter must not be longer than 65535 bytes"
    if "\0" in topic_filter:
        return "a topic filter must not contain the NUL character"
    levels = topic_filter.split("/")
    for i, level in enumerate(levels):
        if level == "#" and i < len(levels) - 1:
            return "# must be the last level of a topic filter"
        if level not in ("#", "+") and ("#" in level or "+" in level):
            return "+ and # must be a whole level of a topic filter"
    return ""


def match(topic_filter, name):
    """Whether the filter matches the topic name. A name with wildcard characters is no name: nothing matches it."""
    return "+" not in name and "#" not in name and covers(topic_filter, name)


def covers(rule, topic_filter):
    """Whether every topic name that topic_filter matches is matched by rule too. An allow rule decides by it."""
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
