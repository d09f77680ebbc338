"""The Redis protocol: bytes to calls, values to bytes, and what belongs to a connection alone."""
