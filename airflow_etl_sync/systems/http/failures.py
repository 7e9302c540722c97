"""What may come of a request in the place of an answer."""

from __future__ import annotations

from airflow_etl_sync.errors import ConfigurationError, SourceError


class RefusedError(ConfigurationError):
    """The API refuses the request.

    :param status: the status of its answer
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class LaterError(SourceError):
    """The request may be made again.

    :param seconds: not before so many; None where the API does not say
    """

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class Failures:
    """Turns what *requests* says of a connection, which quotes the address with its query, into words without it."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Nothing is to be done before."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        from requests import exceptions
        from urllib3.exceptions import HTTPError, ReadTimeoutError

        if isinstance(error, (exceptions.InvalidURL, exceptions.InvalidSchema, exceptions.InvalidHeader)):
            raise ConfigurationError(f"{self._what}: its address or a header is none.") from None
        if isinstance(error, exceptions.SSLError):
            raise ConfigurationError(f"{self._what}: its certificate is not trusted here, or TLS fails.") from None
        if isinstance(error, (exceptions.RequestException, HTTPError)):
            words: dict[type[Exception], str] = {
                exceptions.Timeout: "no answer in time",
                ReadTimeoutError: "no answer in time",
                exceptions.ConnectionError: "the connection fails",
            }
            why = next((text for kind, text in words.items() if isinstance(error, kind)), "the answer is broken off")
            raise LaterError(f"{self._what}: {why}.") from None
