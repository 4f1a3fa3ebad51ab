"""The workflows that join facts, rules and rows: intake, decide, close, verify. Reads no clock."""
