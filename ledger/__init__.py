"""What it means in money: accounts, entries, balances, rules. Pure: no I/O, no clock, no environment, no float."""
