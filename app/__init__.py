"""Faces and wiring: the command line, the embedded books, importers, the demo. Only this room reads clock and environment."""
