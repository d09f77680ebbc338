"""What each Redis command does to the keys, and what it answers; pure, as all of state/ is.

`execute.py` runs calls, `store.py` is what a call sees of the keys, `collection.py` what the types
with elements share, `parsing.py` how arguments are read and refused. The rest is one module for
each family of commands: each has a table CALLS, by the names in capitals.
"""
