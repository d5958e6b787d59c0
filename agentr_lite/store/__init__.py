"""One SQLite file: schema, writes, queries."""
