"""One library beside opsqueue: runs in the peers' own environment, answers each line on stdin with one on stdout.

`python ssh_peers.py LIBRARY`, then on stdin `{"addresses", "port", "user", "key", "text"}` and afterwards `cold` or
`warm`, each answered with `{"wall", "cpu", "answers"}`: seconds, and what each host printed.
"""

from __future__ import annotations

import json
import sys
import time


class ParallelSsh:
    """parallel-ssh, on libssh2 and gevent."""

    def __init__(self, given):
        from pssh.clients import ParallelSSHClient  # noqa: PLC0415  # only the one that is measured is there

        self.given, self.make = given, ParallelSSHClient

    def cold(self):
        """No connection yet."""
        given = self.given
        hosts = given["addresses"]
        self.client = self.make(hosts, given["user"], port=given["port"], pkey=given["key"], pool_size=len(hosts))
        return self.warm()

    def warm(self):
        """The connections of before."""
        answers = self.client.run_command(self.given["text"])
        self.client.join()
        return ["\n".join(one.stdout) for one in answers]


class Fabric:
    """Fabric's ThreadingGroup: a thread for each host."""

    def __init__(self, given):
        from fabric import ThreadingGroup  # noqa: PLC0415  # likewise

        self.given, self.make, self.group = given, ThreadingGroup, None

    def cold(self):
        """No connection yet."""
        if self.group is not None:
            self.group.close()
        given = self.given
        more = {"user": given["user"], "port": given["port"], "connect_kwargs": {"key_filename": given["key"]}}
        self.group = self.make(*given["addresses"], **more)
        return self.warm()

    def warm(self):
        """The connections of before."""
        return [one.stdout for one in self.group.run(self.given["text"], hide=True, in_stream=False).values()]


def main():
    """Answer until stdin ends."""
    answer, sys.stdout = sys.stdout, sys.stderr
    library = {"parallel-ssh": ParallelSsh, "fabric": Fabric}[sys.argv[1]](json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        began, cpu = time.monotonic(), time.process_time()
        answers = getattr(library, line.strip())()
        took = {"wall": time.monotonic() - began, "cpu": time.process_time() - cpu, "answers": answers}
        print(json.dumps(took), file=answer, flush=True)


if __name__ == "__main__":
    main()
