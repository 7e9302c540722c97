"""The command ``etl-sync``: a file a group of commands, which does from a shell what operators do in a DAG."""
