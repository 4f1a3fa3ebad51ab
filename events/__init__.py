"""What happened: event types, canonical bytes, records and logs.

Imports nothing else of this project. Only `filelog` touches files; everything else is pure.
"""
