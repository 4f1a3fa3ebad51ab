"""Faces and wiring: command line, embedded books, importers, demo. Only this room reads clock and environment."""
