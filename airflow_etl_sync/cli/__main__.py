"""``python -m airflow_etl_sync.cli`` is ``etl-sync``."""

from airflow_etl_sync.cli.main import main

raise SystemExit(main())
