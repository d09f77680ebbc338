"""Commands that tools ask for: users, logs, modules."""

from __future__ import annotations

from typing import Final

ROWS: Final = """
= server
ACL -2
  A container for Access List Control commands
  6.0.0: Depends on subcommand.
ACL|CAT -2 noscript loading stale
  List the ACL categories or the commands inside a category
  6.0.0: O(1) since the categories and commands are a fixed set.
ACL|GETUSER 3 admin noscript loading stale
  Get the rules for a specific ACL user
  6.0.0: O(N). Where N is the number of password, command and pattern rules that the user has.
ACL|HELP 2 loading stale
  Show helpful text about the different subcommands
  6.0.0: O(1)
ACL|LIST 2 admin noscript loading stale
  List the current ACL rules in ACL config file format
  6.0.0: O(N). Where N is the number of configured users.
ACL|USERS 2 admin noscript loading stale
  List the username of all the configured ACL rules
  6.0.0: O(N). Where N is the number of configured users.
ACL|WHOAMI 2 noscript loading stale
  Return the name of the user associated to the current connection
  6.0.0: O(1)
LATENCY -2
  A container for latency diagnostics commands
  2.8.13: Depends on subcommand.
LATENCY|HELP 2 loading stale
  Show helpful text about the different subcommands.
  2.8.13: O(1)
LATENCY|HISTOGRAM -2 admin noscript loading stale
  Return the cumulative distribution of latencies of a subset of commands or all.
  7.0.0: O(N) where N is the number of commands with latency information being retrieved.
LATENCY|HISTORY 3 admin noscript loading stale
  Return timestamp-latency samples for the event.
  2.8.13: O(1)
LATENCY|LATEST 2 admin noscript loading stale
  Return the latest latency samples for all events.
  2.8.13: O(1)
LATENCY|RESET -2 admin noscript loading stale
  Reset latency data for one or more events.
  2.8.13: O(1)
MODULE -2
  A container for module commands
  4.0.0: Depends on subcommand.
MODULE|HELP 2 loading stale
  Show helpful text about the different subcommands
  5.0.0: O(1)
MODULE|LIST 2 admin noscript
  List all modules loaded by the server
  4.0.0: O(N) where N is the number of loaded modules.
SLOWLOG -2
  A container for slow log commands
  2.2.12: Depends on subcommand.
SLOWLOG|GET -2 admin loading stale
  Get the slow log's entries
  2.2.12: O(N) where N is the number of entries returned
SLOWLOG|HELP 2 loading stale
  Show helpful text about the different subcommands
  6.2.0: O(1)
SLOWLOG|LEN 2 admin loading stale
  Get the slow log's length
  2.2.12: O(1)
SLOWLOG|RESET 2 admin loading stale
  Clear all entries from the slow log
  2.2.12: O(N) where N is the number of entries in the slowlog
"""
