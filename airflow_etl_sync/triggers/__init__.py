"""What waits in Airflow's triggerer for a change at the source."""
