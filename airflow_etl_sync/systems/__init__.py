"""The systems that data comes from and goes to, one folder each, behind the protocols of ``base``."""
