"""Exceptions that a user's input can cause, and Ctrl-C. Anything else that escapes is a defect of logaccel."""

INTERRUPTED = 130  # exit code: 128 + SIGINT
NOTHING_WRITTEN = "interrupted; nothing was written"


class LogaccelError(Exception):
    """Base of every error whose message is meant for the user; the CLI prints it and exits with 2."""


class ConfigError(LogaccelError):
    """An architecture or a cost profile is wrong, or asks for what no hardware here can do."""


class WorkloadError(LogaccelError):
    """A network description is wrong."""


class TraceError(LogaccelError):
    """A trace file or the tensors in it are wrong."""
