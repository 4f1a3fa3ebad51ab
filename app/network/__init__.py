"""A made-up network that reports to the books: seeded facts, and what must come of them."""
