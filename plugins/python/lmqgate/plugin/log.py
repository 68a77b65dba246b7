"""Log lines in the form that the gateway parses: one JSON object per line on standard error, as go-hclog writes them."""

import datetime
import json
import logging
import sys
import threading
import traceback

_lock = threading.Lock()


def _write(level, message, attributes):
    line = {"@level": level, "@message": str(message), "@timestamp": _now(), **attributes}
    text = json.dumps(line, default=str, ensure_ascii=False)
    with _lock:
        try:
            sys.__stderr__.write(text + "\n")
            sys.__stderr__.flush()
        except (OSError, ValueError):
            pass  # the gateway is gone, and this process goes too


def _now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Log:
    """log.info("user list read", users=3). Never log a secret or a payload."""

    def debug(self, message, **attributes):
        _write("debug", message, attributes)

    def info(self, message, **attributes):
        _write("info", message, attributes)

    def warn(self, message, **attributes):
        _write("warn", message, attributes)

    def error(self, message, **attributes):
        _write("error", message, attributes)

    def exception(self, message, **attributes):
        """Like error, with the traceback of the current exception."""
        _write("error", message, {**attributes, "traceback": traceback.format_exc()})


log = Log()


class Bridge(logging.Handler):
    """Forwards what libraries log through the standard logging module."""

    def emit(self, record):
        level = {"DEBUG": "debug", "INFO": "info", "WARNING": "warn"}.get(record.levelname, "error")
        _write(level, record.getMessage(), {"logger": record.name})
