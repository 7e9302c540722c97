"""Records that Python code gives, as a source: dicts, and whatever speaks the Arrow C stream."""
