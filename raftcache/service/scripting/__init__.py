"""Lua scripts of Redis clients: run where they arrive, and made transactions of the log."""
