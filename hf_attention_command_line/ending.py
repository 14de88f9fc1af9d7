"""How the command and the scripts end upon SIGTERM and Ctrl-C: from the first import on in one line."""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType


def end_in_one_line() -> None:
    """
    Has SIGTERM and Ctrl-C end the process with the code 143 or 130. Call it before what takes long to import. The
    training loop, which saves first, does otherwise as long as it runs.
    """
    process = os.getpid()
    speaks = os.environ.get("LOCAL_RANK", "0") == "0"

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:  # worker processes inherit this
            with suppress(Exception):
                sys.stdout.flush()
            if speaks:
                start = "\n" if os.isatty(2) else ""  # below a progress bar
                os.write(2, f"{start}Stopped by {signal.Signals(number).name}.\n".encode())
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
