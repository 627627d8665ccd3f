"""The logging module as a function finds it on Lambda: the root logger has a
handler that writes `[LEVEL]\\t<time>\\t<request id>\\t<message>` to the log.
"""

import sys
import time

import fnrun_handler


def rehearse():
    """Goes the way of a line to the log, and writes none."""
    if _rehearsal:
        _rehearsal()


_rehearsal = None


def set_up(logging):
    """Gives the root logger its handler."""

    class LogHandler(logging.Handler):
        def emit(self, record):
            try:
                sys.stdout.write(self.format(record) + "\n")
            except Exception:
                self.handleError(record)

        def flush(self):
            try:
                sys.stdout.flush()
            except (OSError, ValueError):
                pass  # the function closed it

    def add_request_id(record):
        record.aws_request_id = fnrun_handler.request_id
        return True

    formatter = logging.Formatter(
        "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s",
        "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = LogHandler()
    handler.setFormatter(formatter)
    handler.addFilter(add_request_id)
    logging.getLogger().addHandler(handler)

    make = logging.LogRecord  # before the function can put its own in its place

    def rehearsal():
        record = make("root", logging.INFO, __file__, 1, "%s", ("x",), None)
        handler.filter(record)
        handler.format(record)

    global _rehearsal
    _rehearsal = rehearsal
