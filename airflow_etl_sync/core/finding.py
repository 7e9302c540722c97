"""What an examination before the first run comes to."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_etl_sync.errors import ConfigurationError, EtlSyncError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found amiss.

    :param code: what it is, for programs
    :param sentence: what it is, for people
    :param mending: what to do, to follow the sentence
    :param is_error: whether it stands in the way; else it is worth knowing only
    """

    code: str
    sentence: str
    mending: str
    is_error: bool = True

    def __str__(self) -> str:
        return f"{self.sentence}: {self.mending}."

    @property
    def is_mended_by_setting_up(self) -> bool:
        """Whether it is as it should be before the first set-up."""
        return False

    def as_error(self) -> EtlSyncError:
        """The error for who goes on regardless."""
        return ConfigurationError(str(self))
