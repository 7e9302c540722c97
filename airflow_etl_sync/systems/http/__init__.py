"""Paged JSON APIs as a source."""
