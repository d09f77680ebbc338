"""What the store promises, in terms a front door can use; knows Raft and state, no protocol."""
