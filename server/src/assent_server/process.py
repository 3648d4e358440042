"""What every service process does first, and how it ends with its supervisor, even if that is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from assent_service.hygiene import forbid_core_dumps, set_up_logging

PARENT = "ASSENT_SUPERVISOR_PID"
"""In the environment of services: the supervisor's process id."""

_PR_SET_PDEATHSIG = 1


def prepare_process() -> None:
    """Files for the owner only, discreet logs, no core dumps; and no life without the supervisor that started it."""
    os.umask(0o077)
    set_up_logging()
    forbid_core_dumps()
    end_with_supervisor()


def end_with_supervisor() -> None:
    """On Linux, be sent SIGTERM when the supervisor dies; exit at once if it is dead already. Alone: does nothing."""
    supervisor = os.environ.get(PARENT)
    if supervisor is None or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(supervisor):
        sys.exit(1)
