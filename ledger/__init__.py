"""What it means in money: accounts, entries, balances and the rules. Pure: no I/O, no clock, no environment, no float."""
