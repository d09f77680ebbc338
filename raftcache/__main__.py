"""`raftcache` and `python -m raftcache` are the same command."""

from raftcache.cli.root import main

if __name__ == "__main__":
    main()
