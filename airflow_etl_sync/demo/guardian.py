"""A small process that stops another one when its maker dies, however it dies."""

from __future__ import annotations

import subprocess

# The pipe closes without a word when the maker is gone, even by SIGKILL.
SCRIPT = """
read -r word
[ "$word" = dismissed ] && exit
kill -s "$1" -- "$2" 2>/dev/null
rounds=0
while kill -s 0 -- "$2" 2>/dev/null && [ "$rounds" -lt 200 ]; do
    sleep 0.1
    rounds=$((rounds + 1))
done
kill -s KILL -- "$2" 2>/dev/null
[ -n "$3" ] && rm -rf -- "$3"
"""


class Guardian:
    """Watches over a process for as long as its maker lives, and ends it if that dies first.

    :param target: a process id; negative for a process group.
    :param stop_signal: the name of the signal that asks the target to stop, without ``SIG``.
    :param directory: what to remove after the target.
    """

    def __init__(self, target: int, *, stop_signal: str, directory: str = "") -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", SCRIPT, "guardian", stop_signal, str(target), directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """End the watch: the target has been stopped."""
        try:
            self._process.communicate(b"dismissed\n", timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
