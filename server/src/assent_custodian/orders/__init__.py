"""Orders: what the collector must close and delete, numbered, chained and signed, mixed over people."""
