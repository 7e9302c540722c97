"""Files on this machine or on object storage, as a source."""
