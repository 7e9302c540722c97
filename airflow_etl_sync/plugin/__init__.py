"""The page "ETL Sync" in Airflow's navigation: which sync is late and why, and how it is mended."""
