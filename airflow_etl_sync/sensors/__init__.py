"""What lets a task wait for a change at the source."""
