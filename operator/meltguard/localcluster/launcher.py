"""Become another program that the kernel kills when the parent dies: `launcher.py PARENT-PID PROGRAM [ARGUMENT ...]`.

Run by path with `python -I -S`, so that it starts in a few hundredths of a second; imports nothing of ours.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for the kill, look whether the parent died before that, then become the program."""
    parent, *command = sys.argv[1:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG) failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent):
        sys.exit("the parent has died already")
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the program is the purpose
    except OSError as exc:
        sys.stderr.write(f"cannot run {command[0]}: {exc.strerror}\n")
        sys.exit(127)  # as a shell says it


if __name__ == "__main__":
    main()
