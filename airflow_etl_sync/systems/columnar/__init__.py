"""What destinations share that take whole columns of Arrow: a lake's tables and files, an embedded warehouse."""
