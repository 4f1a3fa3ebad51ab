"""Importers of real cluster traces: each turns rows into facts that need nothing else."""
