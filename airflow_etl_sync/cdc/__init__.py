"""Change data capture: a slot's changes decoded, folded and applied."""
