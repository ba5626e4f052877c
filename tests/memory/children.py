"""Running a piece of a test in a child process, so that a hang in native code fails one test and not the run."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable


def in_child(body: Callable[[], None], seconds: int = 60) -> None:
    """Forks, runs `body`, and fails with its traceback; a child that hangs is killed by its own alarm."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Newer interpreters warn of forks beside threads; some of these tests are about exactly that.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        # The default action needs no interpreter: it works while a native call is stuck.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        try:
            os.close(reader)
            body()
            os.write(writer, b"fine")
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-8000:])
        finally:
            os._exit(0)
    os.close(writer)
    parts = []
    while part := os.read(reader, 65536):
        parts.append(part)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status), f"the child was killed by signal {os.WTERMSIG(status)}: it hung or crashed"
    answer = b"".join(parts).decode(errors="replace")
    assert answer == "fine", answer
