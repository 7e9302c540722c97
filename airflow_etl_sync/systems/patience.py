"""Waiting for a server that is not ready, such as one that restarts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tenacity import RetryCallState

_Connection = TypeVar("_Connection")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How a server is asked for a connection again.

    :param system: what it is called in the log
    :param why_not_ready: why a connection could not be made, in words, if another attempt soon may make it; else None
    :param seconds: for so long
    :param first_wait_seconds: before the second attempt; then twice as long each time
    :param longest_wait_seconds: but no longer than that
    """

    system: str
    why_not_ready: Callable[[BaseException], str | None]
    seconds: float
    first_wait_seconds: float
    longest_wait_seconds: float

    def connect(self, connect: Callable[[], _Connection]) -> _Connection:
        """Try to connect until it succeeds, another attempt cannot help, or the time is over."""
        from tenacity import Retrying, retry_if_exception, stop_before_delay, wait_exponential, wait_random

        attempts = Retrying(
            retry=retry_if_exception(lambda error: self.why_not_ready(error) is not None),
            stop=stop_before_delay(self.seconds),
            wait=wait_exponential(self.first_wait_seconds, self.longest_wait_seconds)
            + wait_random(0, self.first_wait_seconds),
            before_sleep=self._tell,
            reraise=True,
        )
        return attempts(connect)

    def _tell(self, attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome else None
        log.info(
            "%s is not ready (%s), attempt %d: trying again in %.1f s",
            self.system,
            self.why_not_ready(error) if error else "",
            attempt.attempt_number,
            attempt.upcoming_sleep,
        )
