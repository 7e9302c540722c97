"""From Airflow's connections to the databases."""
