"""
Look at a watermark, or move it by hand.

Teaches: **the watermark tools**. A sync remembers in its watermark where the next run starts reading. Trigger this
DAG by hand and fill in the form:

* `show` tells where a sync stands, and what people did to it before.
* `rewind` lets the next run read older rows again: by a distance (`P7D`, `PT1H`, for ids a number), or to a value.
* `set` lets it start at a value. To move it forward is to skip rows, which must be ticked.
* `reset` forgets the watermark: the next run reads everything. Nothing is deleted in the destination.

The answer is in the task's XCom. Each change is recorded in `etl_sync.watermark_change` with the user who triggered
the DAG, and the reason. A sync that is running meanwhile keeps what it loads and leaves the watermark alone.

Needs the connection `warehouse`, the database that the syncs load into.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_etl_sync import WatermarkSetOperator

ACTIONS = ["show", "rewind", "set", "reset"]
CURSOR_TYPES = ["timestamptz", "timestamp", "date", "integer", "numeric", "text", "xid"]

with DAG(
    dag_id="watermark_tools",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    params={
        "action": Param(default="show", type="string", enum=ACTIONS, title="What to do"),
        "sync_key": Param(
            default="orders", type="string", minLength=1, title="Sync", description="The sync_key of its DAG."
        ),
        "back": Param(
            default=None, type=["null", "string"], title="Back by", description="For rewind: P7D, PT1H or a number."
        ),
        "value": Param(
            default=None,
            type=["null", "string"],
            title="Value",
            description="For set, or rewind to a value; times in UTC.",
        ),
        "reason": Param(default=None, type=["null", "string"], title="Why", description="Needed for every change."),
        "allow_skipping": Param(default=False, type="boolean", title="Skip rows", description="For set: move forward."),
        "cursor_type": Param(
            default=None,
            type=["null", "string"],
            enum=[None, *CURSOR_TYPES],
            title="Type",
            description="For set, where a sync has no watermark yet.",
        ),
    },
    tags=["etl-sync"],
):
    WatermarkSetOperator(
        task_id="watermark",
        state_conn_id="warehouse",
        sync_key="{{ params.sync_key }}",
        action="{{ params.action }}",
        back="{{ params.back }}",
        value="{{ params.value }}",
        reason="{{ params.reason }}",
        allow_skipping="{{ params.allow_skipping }}",
        cursor_type="{{ params.cursor_type }}",
    )
