"""Workers in a tenth of a second: forked from one process that has imported everything already.

`python -m tests.execution.zygote SOCKET MODULE`: runs `MODULE.main()` in a fork for each client.
`python -m tests.execution.zygote` is a client, and what an executor starts: it hands its streams to
a fork, ends as that ends, and takes it along when it is killed itself.
"""

import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Callable

SOCKET = "ZYGOTE_SOCKET"


def serve(path: str, module: str) -> None:
    main = importlib.import_module(module).main
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the handlers
    while True:
        client, _ = server.accept()
        if os.fork() == 0:
            server.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            handle(client, main)
        client.close()


def handle(client: socket.socket, main: Callable[[], None]) -> None:
    _, streams, _, _ = socket.recv_fds(client, 1, 3)
    child = os.fork()
    if child == 0:
        client.close()
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
            os.close(stream)
        main()
        os._exit(0)
    for stream in [0, 1, 2, *streams]:
        os.close(stream)
    ended = os.pidfd_open(child)
    ready, _, _ = select.select([client, ended], [], [])
    if client in ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if client not in ready:
        client.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def hand_over() -> None:
    client = socket.socket(socket.AF_UNIX)
    client.connect(os.environ[SOCKET])
    socket.send_fds(client, [b"!"], [0, 1, 2])
    for stream in (0, 1, 2):
        os.close(stream)
    code = int(client.recv(16) or b"-9")
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(*sys.argv[1:])
    else:
        hand_over()
