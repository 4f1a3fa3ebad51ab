"""How this process logs: on standard error, as text for people or as a JSON object per line.

    _LOG.warning("%s: cut back", log, extra={"fields": {"log": log}})     fields are for programs; text leaves them out

JSON has `time` (UTC), `level`, `logger`, `message`, each field, and `exception` where there is one. Settings' secrets
are typed so that they cannot be written (`app.settings`).
"""

import json
import logging
import sys
from datetime import UTC, datetime

__all__ = ["JsonLines", "configure_logs"]


_CLIENTS = ("kafka", "aiokafka", "faust", "mode")


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record; what JSON has no form for is written as text."""
        moment = datetime.fromtimestamp(record.created, UTC)
        told = {
            "time": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


class _StandardError(logging.Handler):
    """Writes to what standard error is now, which is not always what it was when logging was configured."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; where nobody listens any more, that stops nothing."""
        try:
            sys.stderr.write(self.format(record) + "\n")
        except (OSError, ValueError):
            self.handleError(record)


def configure_logs(form: str, level: str) -> None:
    """Log as `form` (text or json), from `level` on. May be called again."""
    root = logging.getLogger()
    for handler in [held for held in root.handlers if isinstance(held, _StandardError)]:
        root.removeHandler(handler)
    handler = _StandardError()
    handler.addFilter(_is_told)
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter("%(message)s"))
    root.addHandler(handler)
    root.setLevel(level.upper())


def _is_told(record: logging.LogRecord) -> bool:
    """Leave the clients' errors out: of a connection that is made again they tell at length, and for the last the
    command tells, which listens to them.
    """
    return record.levelno >= logging.CRITICAL or record.name.partition(".")[0] not in _CLIENTS
