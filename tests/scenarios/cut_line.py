"""A way to a server that is cut once so much has come back through it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_AT_ONCE = 65536


class CutLine:
    """Passes on what both sides send.

    :ivar cut_after: each connection is cut once so many bytes have come back on it; None lets all pass
    :ivar cuts: how many were cut
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._threads: list[threading.Thread] = []
        self.cut_after: int | None = None
        self.cuts = 0

    @contextmanager
    def laid(self) -> Iterator[int]:
        """Its port."""
        listener = socket.create_server(("127.0.0.1", 0))
        self._begin(self._accept, listener)
        try:
            yield listener.getsockname()[1]
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            for thread in self._threads:
                thread.join()

    def _begin(self, target: object, *arguments: object) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments))  # type: ignore[arg-type]
        self._threads[-1].start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # it is closed
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(("127.0.0.1", self._server_port))
                self._begin(self._pass_on, here, there, False)
                self._begin(self._pass_on, there, here, True)

    def _pass_on(self, one: socket.socket, other: socket.socket, may_be_cut: bool) -> None:
        passed = 0
        with suppress(OSError):  # the other direction has ended both
            while data := one.recv(_AT_ONCE):
                passed += len(data)
                if may_be_cut and self.cut_after is not None and passed > self.cut_after:
                    self.cuts += 1
                    break
                other.sendall(data)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
