"""The entry point of the command `logaccel` and of `python -m logaccel`: Ctrl-C is one line from here on.

Importing the command line takes longer than anything before it. Until it can take care of Ctrl-C itself, the process
ends on the spot: what is half imported cannot clean up, and there is nothing to clean up yet.
"""

import os

from logaccel.errors import INTERRUPTED, NOTHING_WRITTEN


def main() -> None:
    """Run the command line."""
    try:
        import signal

        waits = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else the caller ignores Ctrl-C
        if waits:
            signal.signal(signal.SIGINT, _leave)
        from logaccel.cli import main as run

        if waits:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        _leave()


def _leave(*_: object) -> None:
    os.write(2, f"{NOTHING_WRITTEN}\n".encode())
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
