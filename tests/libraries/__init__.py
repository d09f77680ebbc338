"""Programs that use libraries which bring scripts for Redis, as their authors ship them.

Each is run by itself (`python -m tests.libraries.NAME PORT...`), as libraries keep threads, signals
and settings for the whole process. It uses a different node for each client, checks what it is
told, and exits with 0 if all of it was right.
"""
