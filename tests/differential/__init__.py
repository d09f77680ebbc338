"""The Redis door beside a real redis-server: the same calls, and the same replies.

`families` says which calls, in the words of `grammar`; `play` sends them to both, `judge` compares,
and knows the differences that docs/REDIS.md lists; `search` shortens what it finds. Replies that
Redis leaves to chance or to the time are compared under a named rule, never left out silently.
"""
