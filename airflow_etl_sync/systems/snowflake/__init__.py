"""Tables of Snowflake, a warehouse."""
