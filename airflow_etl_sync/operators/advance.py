"""The last step of the chain: move the watermark past what has been loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_etl_sync.observability.links import SyncLink
from airflow_etl_sync.observability.outcome import Outcome
from airflow_etl_sync.observability.telling import tell
from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.operators._failure import failing_for_good

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_etl_sync.core.model import Extraction
    from airflow_etl_sync.journey.advance import Advanced


class WatermarkAdvanceOperator(BaseOperator):
    """Move the watermark to the end of an extraction's window, once every chunk of it has been loaded.

    The ledger is asked, not the tasks before: a watermark never passes a row that has not been loaded.
    A backfill leaves the watermark as it is. Afterwards the staged chunks are removed. All arguments are
    templated.

    :param extraction: what the extract returned, all parts of it (``extract.output``)
    :param state_conn_id: connection of type ``postgres`` whose schema ``etl_sync`` keeps the watermark
    """

    template_fields = ("extraction", "state_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"extraction": "json"}
    ui_color = "#fdebc8"
    operator_extra_links = (SyncLink(),)

    def __init__(
        self,
        *,
        extraction: Mapping[str, Any] | Sequence[Mapping[str, Any]] | Any,
        state_conn_id: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.extraction = extraction
        self.state_conn_id = state_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Move the watermark.

        :returns: sync key, kind of the run, watermark and its type, counts over all loads, the seconds since the
            extract began, how far the watermark is behind and how many failed records are open
        :raises AirflowFailException: where chunks are missing, or another run moved the watermark
        """
        with failing_for_good():
            extraction, advanced = self._advance()
        if not advanced.is_repeated:
            tell(context, Outcome.of_chain(extraction, advanced))
        watermark = advanced.watermark
        return {
            "sync_key": extraction.sync_key,
            "kind": extraction.kind,
            "extraction_id": extraction.extraction_id,
            "watermark": watermark.text if watermark else None,
            "cursor_type": watermark.type if watermark else None,
            "rows_extracted": extraction.rows,
            "counts": advanced.counts.to_json(),
            "seconds": round(advanced.seconds, 3),
            **advanced.health.to_json(),
        }

    def _advance(self) -> tuple[Extraction, Advanced]:
        from airflow_etl_sync.core.model import Extraction
        from airflow_etl_sync.journey.advance import advance
        from airflow_etl_sync.operators._journey_terms import access_by
        from airflow_etl_sync.operators._staging_place import open_staging

        extraction = Extraction.from_xcom(arguments.as_extraction("extraction", self.extraction))
        state = access_by(self, "state_conn_id").engine()
        return extraction, advance(state, open_staging(extraction.staging_uri), extraction)
