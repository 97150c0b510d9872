"""How a child process learns that it is to stop, once, whatever the reason.

The child's standard input is a pipe that only its parent holds open. A byte in it means "stop"; its
end means that the parent is gone, even if that was killed. A parent that forked without closing the
pipe may leave it open, so the child also looks whether it still has that parent. In each case it
sends itself SIGTERM, exactly one: a training answers the first with a checkpoint, and the second
would interrupt that. After the grace for it the child kills its whole process group.
"""

import os
import select
import signal
import threading
import time

_LOOK_S = 1.0


def obey_parent(parent_pid: int, *, grace_s: float) -> None:
    """Let this process, the leader of its group, stop when its parent says so or is gone.

    Args:
        parent_pid: Process that started this one.
        grace_s: Time between SIGTERM and SIGKILL, seconds.
    """
    watch = threading.Thread(target=_watch, args=(parent_pid, grace_s), name="lifeline")
    watch.daemon = True
    watch.start()


def _watch(parent_pid: int, grace_s: float) -> None:
    while os.getppid() == parent_pid and not select.select([0], [], [], _LOOK_S)[0]:
        continue
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    os.killpg(os.getpgid(0), signal.SIGKILL)
