"""Real servers on loopback, for tests and development: Apache Kafka from its jars, PostgreSQL from a wheel.

Not shipped: the product only ever sees their addresses.
"""
