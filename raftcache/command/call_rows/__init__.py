"""The rows of the command table, by group; command/call_table.py says what stands in a row."""
