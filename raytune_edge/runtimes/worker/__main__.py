"""The measuring child process: ``python .../worker --device CPU [--runtime modern] [--core 3]``.

One device, one request at a time, JSON lines in and out; see ``protocol.py``. It runs under any
Python from 3.6 on and imports nothing of this package, so that a device whose runtime needs an old
Python gets a child in an environment of its own. Answers go to what was standard output at the
start: native plugins print to file descriptor 1, which is pointed at standard error. The child
ends when its input does or its parent is gone.
"""

import argparse
import importlib
import os
import signal
import sys
import threading
import time

STICK_GRACE_S = 10.0
"""A stick that isn't closed stays booted, and the next process cannot open it."""


def end_with_parent(grace_s):
    """End this process when its parent is gone, also while it hangs in a request.

    It ends by itself if it can, as the end of its input tells it to; ``grace_s`` is for that.
    """
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(1.0)
        time.sleep(grace_s)
        os._exit(3)

    thread = threading.Thread(target=watch)
    thread.daemon = True
    thread.start()


def end_when_told():
    """Let SIGTERM end this process as the end of its input does: a stick must be closed."""

    def stop(number, frame):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # closing a stick takes some seconds
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, stop)


def private_output():
    """A stream to what was standard output; from now on, prints go to standard error."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def main():
    """Serve the device that the command line names."""
    answers = private_output()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", required=True)
    parser.add_argument("--runtime", default="modern", help="the module that drives it")
    parser.add_argument("--core", type=int, help="the one CPU core to run on")
    parser.add_argument("--option", default="", help="the runtime's own")
    parser.add_argument("--stick", default="", help="the USB stick's folders in sysfs, a,b")
    options = parser.parse_args()
    if options.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    end_with_parent(STICK_GRACE_S if options.stick else 0.0)
    end_when_told()

    protocol = importlib.import_module("protocol")
    try:
        module = importlib.import_module(options.runtime)
        runtime = module.Runtime(options)
    except ImportError as error:
        message = "the runtime {!r} cannot be loaded: {}".format(options.runtime, error)
        protocol.serve(protocol.Absent(ImportError(message)), sys.stdin, answers)
        return
    worker_class = getattr(module, "Worker", protocol.Worker)
    status = 0
    try:
        protocol.serve(worker_class(runtime, options.device), sys.stdin, answers)
    except SystemExit as ended:
        # Not left to the interpreter: its traceback keeps what was compiled, and so the stick.
        status = ended.code
    finally:
        runtime.close()
    sys.exit(status)


if __name__ == "__main__":
    main()
