"""Topic rules: the first rule that matches decides; an action that no rule matches is denied.

A publish is matched by a rule whose filter matches its topic. A subscribe asks for a set of topics, so an allow decides if it
covers all of it, and a deny if it names anything that could be received.
"""

from dataclasses import dataclass

from lmqgate.plugin.topics import covers, overlaps, validate


@dataclass(frozen=True)
class Rule:
    effect: str  # "allow" or "deny"
    action: str  # "publish", "subscribe" or "all"
    topic: str  # a topic filter; %c is the client identifier, %u the user name

    def __str__(self):
        return f"{self.effect} {self.action} {self.topic}"


def decide(rules, action, topic, client_id, username):
    """Whether a user with these rules may do it, and why, for the gateway's log."""
    for number, rule in enumerate(rules, 1):
        if rule.action not in (action, "all"):
            continue
        topic_filter = substitute(rule.topic, client_id, username)
        allow = rule.effect == "allow"
        if topic_filter is None:
            # Not a filter, or a name could mean more than itself: an allow then matches nothing, a deny everything.
            if allow:
                continue
            return False, f"rule {number} ({rule}) cannot be applied"
        matches = covers if allow or action == "publish" else overlaps
        if matches(topic_filter, topic):
            return allow, f"rule {number} ({rule})"
    return False, "no rule allows it"


def substitute(topic, client_id, username):
    """Inserts the names into a rule's topic, in one pass, so that a name is never read as a placeholder. None if a name that
    the rule refers to is missing or could mean more than itself (a wildcard, several levels, a system topic, the level "p2p"), or
    if the result is no topic filter."""
    out, text, rest = "", "", topic
    while rest:
        name = {"%c": client_id, "%u": username}.get(rest[:2])
        if name is None:
            out, text, rest = out + rest[0], text + rest[0], rest[1:]
            continue
        if not name or any(c in name for c in "+#/\0"):
            return None
        out, text, rest = out + name, text + "\0", rest[2:]  # no name has this character
    if redirected(text, out):
        return None
    return None if validate(out) else out


def redirected(text, topic_filter):
    """Whether names have given a filter a first level that begins with "$", or a second level "p2p", through which a client could
    send to every other. text is the rule's topic with something else in place of each name. The gateway skips a leading "/" when
    it counts levels, and a first level "+" also matches the empty level before it."""
    levels = topic_filter.split("/")
    slash, maybe = levels[0] == "", levels[0] == "+"
    for i, (was, level) in enumerate(zip(text.split("/"), levels)):
        if was == level:
            continue
        first = i == 0 or i == 1 and (slash or maybe)
        second = i == 1 and not slash or i == 2 and (slash or maybe)
        if first and level.startswith("$") and (not was.startswith("$") or level in ("$SYS", "$events", "$share")):
            return True
        if second and level == "p2p":
            return True
    return False
