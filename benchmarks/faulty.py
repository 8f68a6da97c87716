"""OpenVINO in the measuring child, with an answer spoilt on demand; for `faults.py`.

``--option`` names a folder. A file ``garbage-*`` or ``replay-*`` in it is an order that the next
measurement of any child carries out and removes. Runs in the child: imports nothing of the package.
"""

import json
import os
import time

import modern
import protocol


class Runtime(modern.Runtime):
    """The real runtime."""

    def __init__(self, options):
        super().__init__(options)
        self.folder = options.option


class Worker(protocol.Worker):
    """Measures, then does to the answer what is ordered."""

    def measure(self, request):
        result = super().measure(request)
        folder = self.runtime.folder
        last = os.path.join(folder, "last.json")
        try:
            with open(last) as file:
                former = json.load(file)
        except OSError:
            former = None
        if former and former["model_sha256"] != result["model_sha256"] and self.claim("replay"):
            return former
        if self.claim("garbage"):
            # Not JSON: the parent reads this where it expects the answer.
            self.answers.write("E: [xLink] [ 12345] dispatcherEventReceive() -4\n")
            return result
        temporary = f"{last}.{os.getpid()}"
        with open(temporary, "w") as file:
            json.dump(result, file)
        os.replace(temporary, last)
        return result

    def claim(self, kind):
        """Whether there was an order of this kind; it is carried out once."""
        for name in os.listdir(self.runtime.folder):
            if name.startswith(kind):
                path = os.path.join(self.runtime.folder, name)
                try:
                    os.rename(path, os.path.join(self.runtime.folder, f"done-{name}-{time.time()}"))
                except FileNotFoundError:
                    continue
                return True
        return False
