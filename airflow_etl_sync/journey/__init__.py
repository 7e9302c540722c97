"""The data's way, a file a step: extract, load, advance; and sync, which is all three in one.

No Airflow here: the operators are a shell around these functions.
"""
