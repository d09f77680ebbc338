"""Commands on the connection, the node and the cluster: a door answers them itself."""

from __future__ import annotations

from typing import Final

ROWS: Final = """
= transactions
DISCARD 1 noscript loading stale fast allow_busy
  Discard all commands issued after MULTI
  2.0.0: O(N), when N is the number of queued commands
EXEC 1 noscript loading stale skip_slowlog
  Execute all commands issued after MULTI
  1.2.0: Depends on commands in the transaction
MULTI 1 noscript loading stale fast allow_busy
  Mark the start of a transaction block
  1.2.0: O(1)
UNWATCH 1 noscript loading stale fast allow_busy
  Forget about all watched keys
  2.2.0: O(1)
WATCH -2 1,-1,1 noscript loading stale fast allow_busy
  Watch the given keys to determine execution of the MULTI/EXEC block
  2.2.0: O(1) for every key

= scripting
EVAL -3 numkeys@2 noscript stale skip_monitor no_mandatory_keys movablekeys
  Execute a Lua script server side
  2.6.0: Depends on the script that is executed.
EVALSHA -3 numkeys@2 noscript stale skip_monitor no_mandatory_keys movablekeys
  Execute a Lua script server side
  2.6.0: Depends on the script that is executed.
EVALSHA_RO -3 numkeys@2 readonly noscript stale skip_monitor no_mandatory_keys movablekeys -read
  Execute a read-only Lua script server side
  7.0.0: Depends on the script that is executed.
EVAL_RO -3 numkeys@2 readonly noscript stale skip_monitor no_mandatory_keys movablekeys -read
  Execute a read-only Lua script server side
  7.0.0: Depends on the script that is executed.
SCRIPT -2
  A container for Lua scripts management commands
  2.6.0: Depends on subcommand.
SCRIPT|EXISTS -3 noscript
  Check existence of scripts in the script cache.
  2.6.0: O(N) with N being the number of scripts to check (so checking a single script is an
    O(1) operation).
SCRIPT|FLUSH -2 noscript
  Remove all the scripts from the script cache.
  2.6.0: O(N) with N being the number of scripts in cache
SCRIPT|HELP 2 loading stale
  Show helpful text about the different subcommands
  5.0.0: O(1)
SCRIPT|KILL 2 noscript allow_busy
  Kill the script currently in execution.
  2.6.0: O(1)
SCRIPT|LOAD 3 noscript stale
  Load the specified Lua script into the script cache.
  2.6.0: O(N) with N being the length in bytes of the script body.

= pubsub
PSUBSCRIBE -2 pubsub noscript loading stale
  Listen for messages published to channels matching the given patterns
  2.0.0: O(N) where N is the number of patterns the client is already subscribed to
PUBLISH 3 pubsub loading stale fast
  Post a message to a channel
  2.0.0: O(N+M) where N is the number of clients subscribed to the receiving channel and M is
    the total number of subscribed patterns (by any client)
PUBSUB -2
  A container for Pub/Sub commands
  2.8.0: Depends on subcommand
PUBSUB|CHANNELS -2 pubsub loading stale
  List active channels
  2.8.0: O(N) where N is the number of active channels, and assuming constant time pattern
    matching (relatively short channels and patterns)
PUBSUB|HELP 2 loading stale
  Show helpful text about the different subcommands
  6.2.0: O(1)
PUBSUB|NUMPAT 2 pubsub loading stale
  Get the count of unique patterns pattern subscriptions
  2.8.0: O(1)
PUBSUB|NUMSUB -2 pubsub loading stale
  Get the count of subscribers for channels
  2.8.0: O(N) for the NUMSUB subcommand, where N is the number of requested channels
PUBSUB|SHARDCHANNELS -2 pubsub loading stale
  List active shard channels
  7.0.0: O(N) where N is the number of active shard channels, and assuming constant time pattern
    matching (relatively short shard channels).
PUBSUB|SHARDNUMSUB -2 pubsub loading stale
  Get the count of subscribers for shard channels
  7.0.0: O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels
PUNSUBSCRIBE -1 pubsub noscript loading stale
  Stop listening for messages posted to channels matching the given patterns
  2.0.0: O(N+M) where N is the number of patterns the client is already subscribed and M is the
    number of total patterns subscribed in the system (by any client)
SPUBLISH 3 1,1,1 pubsub loading stale fast
  Post a message to a shard channel
  7.0.0: O(N) where N is the number of clients subscribed to the receiving shard channel.
SSUBSCRIBE -2 1,-1,1 pubsub noscript loading stale
  Listen for messages published to the given shard channels
  7.0.0: O(N) where N is the number of shard channels to subscribe to.
SUBSCRIBE -2 pubsub noscript loading stale
  Listen for messages published to the given channels
  2.0.0: O(N) where N is the number of channels to subscribe to
SUNSUBSCRIBE -1 1,-1,1 pubsub noscript loading stale
  Stop listening for messages posted to the given shard channels
  7.0.0: O(N) where N is the number of clients already subscribed to a shard channel.
UNSUBSCRIBE -1 pubsub noscript loading stale
  Stop listening for messages posted to the given channels
  2.0.0: O(N) where N is the number of clients already subscribed to a channel

= connection
AUTH -2 noscript loading stale fast no_auth allow_busy
  Authenticate to the server
  1.0.0: O(N) where N is the number of passwords defined for the user
CLIENT -2
  A container for client connection commands
  2.4.0: Depends on subcommand
CLIENT|CACHING 3 noscript loading stale
  Instruct the server about tracking or not keys in the next request
  6.0.0: O(1)
CLIENT|CONSISTENCY -3 noscript
  Chooses how fresh the connection's reads are
  raftcache 0.2: O(1)
CLIENT|GETNAME 2 noscript loading stale
  Get the current connection name
  2.6.9: O(1)
CLIENT|GETREDIR 2 noscript loading stale
  Get tracking notifications redirection client ID if any
  6.0.0: O(1)
CLIENT|HELP 2 loading stale
  Show helpful text about the different subcommands
  5.0.0: O(1)
CLIENT|ID 2 noscript loading stale
  Returns the client ID for the current connection
  5.0.0: O(1)
CLIENT|IDEMPOTENCY -3 noscript
  Numbers the connection's writes, so that a repeated one is applied once
  raftcache 0.2: O(1)
CLIENT|INFO 2 noscript loading stale
  Returns information about the current client connection.
  6.2.0: O(1)
CLIENT|KILL -3 admin noscript loading stale
  Kill the connection of a client
  2.4.0: O(N) where N is the number of client connections
CLIENT|LIST -2 admin noscript loading stale
  Get the list of client connections
  2.4.0: O(N) where N is the number of client connections
CLIENT|NO-EVICT 3 admin noscript loading stale
  Set client eviction mode for the current connection
  7.0.0: O(1)
CLIENT|NO-TOUCH 3 noscript loading stale
  Controls whether the connection's commands count as uses of their keys
  7.2.0: O(1)
CLIENT|REPLY 3 noscript loading stale
  Instruct the server whether to reply to commands
  3.2.0: O(1)
CLIENT|SETINFO 4 noscript loading stale
  Sets what the connection says of its client library
  7.2.0: O(1)
CLIENT|SETNAME 3 noscript loading stale
  Set the current connection name
  2.6.9: O(1)
CLIENT|TRACKING -3 noscript loading stale
  Enable or disable server assisted client side caching support
  6.0.0: O(1)
CLIENT|TRACKINGINFO 2 noscript loading stale
  Return information about server assisted client side caching for the current connection
  6.2.0: O(1)
CLIENT|UNBLOCK -3 admin noscript loading stale
  Unblock a client blocked in a blocking command from a different connection
  5.0.0: O(log N) where N is the number of client connections
ECHO 2 loading stale fast
  Echo the given string
  1.0.0: O(1)
HELLO -1 noscript loading stale fast no_auth allow_busy
  Handshake with Redis
  6.0.0: O(1)
PING -1 fast
  Ping the server
  1.0.0: O(1)
QUIT -1 noscript loading stale fast no_auth allow_busy
  Close the connection
  1.0.0: O(1)
RESET 1 noscript loading stale fast no_auth allow_busy
  Reset the connection
  6.2.0: O(1)
SELECT 2 loading stale fast
  Change the selected database for the current connection
  1.0.0: O(1)

= server
COMMAND -1 loading stale +connection
  Get array of Redis command details
  2.8.13: O(N) where N is the total number of Redis commands
COMMAND|COUNT 2 loading stale +connection
  Get total number of Redis commands
  2.8.13: O(1)
COMMAND|DOCS -2 loading stale +connection
  Get array of specific Redis command documentation
  7.0.0: O(N) where N is the number of commands to look up
COMMAND|GETKEYS -4 loading stale +connection
  Extract keys given a full Redis command
  2.8.13: O(N) where N is the number of arguments to the command
COMMAND|HELP 2 loading stale +connection
  Show helpful text about the different subcommands
  5.0.0: O(1)
COMMAND|INFO -2 loading stale +connection
  Get array of specific Redis command details, or all when no argument is given.
  2.8.13: O(N) where N is the number of commands to look up
COMMAND|LIST -2 loading stale +connection
  Get an array of Redis command names
  7.0.0: O(N) where N is the total number of Redis commands
CONFIG -2
  A container for server configuration commands
  2.0.0: Depends on subcommand
CONFIG|GET -3 admin noscript loading stale
  Get the values of configuration parameters
  2.0.0: O(N) when N is the number of configuration parameters provided
CONFIG|HELP 2 loading stale
  Show helpful text about the different subcommands
  5.0.0: O(1)
CONFIG|RESETSTAT 2 admin noscript loading stale
  Reset the stats returned by INFO
  2.0.0: O(1)
CONFIG|SET -4 admin noscript loading stale
  Set configuration parameters to the given values
  2.0.0: O(N) when N is the number of configuration parameters provided
DBSIZE 1 readonly fast +keyspace
  Return the number of keys in the selected database
  1.0.0: O(1)
FLUSHALL -1 write +dangerous +keyspace
  Remove all keys from all databases
  1.0.0: O(N) where N is the total number of keys in all databases
FLUSHDB -1 write +dangerous +keyspace
  Remove all keys from the current database
  1.0.0: O(N) where N is the number of keys in the selected database
INFO -1 loading stale +dangerous
  Get information and statistics about the server
  1.0.0: O(1)
MEMORY -2
  A container for memory diagnostics commands
  4.0.0: Depends on subcommand
MEMORY|HELP 2 loading stale
  Show helpful text about the different subcommands
  4.0.0: O(1)
MEMORY|USAGE -3 2,2,1 readonly
  Estimate the memory usage of a key
  4.0.0: O(N) where N is the number of samples
ROLE 1 noscript loading stale fast +admin +dangerous
  Return the role of the instance in the context of replication
  2.8.12: O(1)
TIME 1 loading stale fast
  Return the current server time
  2.6.0: O(1)

= cluster
CLUSTER -2
  A container for cluster commands
  3.0.0: Depends on subcommand
CLUSTER|COUNTKEYSINSLOT 3 stale
  Return the number of local keys in the specified hash slot
  3.0.0: O(1)
CLUSTER|GETKEYSINSLOT 4 stale
  Return local key names in the specified hash slot
  3.0.0: O(log(N)) where N is the number of requested keys
CLUSTER|HELP 2 loading stale
  Show helpful text about the different subcommands
  5.0.0: O(1)
CLUSTER|INFO 2 stale
  Provides info about Redis Cluster node state
  3.0.0: O(1)
CLUSTER|KEYSLOT 3 stale
  Returns the hash slot of the specified key
  3.0.0: O(N) where N is the number of bytes in the key
CLUSTER|LINKS 2 stale
  Returns a list of all TCP links to and from peer nodes in cluster
  7.0.0: O(N) where N is the total number of Cluster nodes
CLUSTER|MYID 2 stale
  Return the node id
  3.0.0: O(1)
CLUSTER|MYSHARDID 2 stale
  Returns the shard ID of a node
  7.2.0: O(1)
CLUSTER|NODES 2 stale
  Get Cluster config for the node
  3.0.0: O(N) where N is the total number of Cluster nodes
CLUSTER|REPLICAS 3 admin stale
  List replica nodes of the specified master node
  5.0.0: O(1)
CLUSTER|SHARDS 2 stale
  Get array of cluster slots to node mappings
  7.0.0: O(N) where N is the total number of cluster nodes
CLUSTER|SLAVES 3 admin stale
  List replica nodes of the specified master node
  3.0.0: O(1)
CLUSTER|SLOTS 2 stale
  Get array of Cluster slot to node mappings
  3.0.0: O(N) where N is the total number of Cluster nodes
READONLY 1 loading stale fast +connection
  Enables read queries for a connection to a cluster replica node
  3.0.0: O(1)
READWRITE 1 loading stale fast +connection
  Disables read queries for a connection to a cluster replica node
  3.0.0: O(1)

= sentinel
SENTINEL -2 admin
  A container for Redis Sentinel commands
  2.8.4: O(1)
SENTINEL|CKQUORUM 3 admin
  Tells whether a failover is possible now
  2.8.4: O(1)
SENTINEL|GET-MASTER-ADDR-BY-NAME 3 admin
  Returns the address of the master
  2.8.4: O(1)
SENTINEL|HELP 2 loading stale
  Shows helpful text
  2.8.4: O(1)
SENTINEL|IS-MASTER-DOWN-BY-ADDR 6 admin
  Tells whether the node at an address is down
  2.8.4: O(1)
SENTINEL|MASTER 3 admin
  Returns the state of the master
  2.8.4: O(1)
SENTINEL|MASTERS 2 admin
  Returns the state of all masters, of which there is one
  2.8.4: O(1)
SENTINEL|MYID 2 admin
  Returns the id of the node
  2.8.4: O(1)
SENTINEL|REPLICAS 3 admin
  Returns the state of the replicas
  2.8.4: O(1)
SENTINEL|SENTINELS 3 admin
  Returns the other sentinels: the other nodes
  2.8.4: O(1)
SENTINEL|SLAVES 3 admin
  Returns the state of the replicas
  2.8.4: O(1)
"""
