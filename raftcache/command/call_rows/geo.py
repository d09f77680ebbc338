"""Commands on places."""

from __future__ import annotations

from typing import Final

ROWS: Final = """
= geo
GEOADD -5 1,1,1 write denyoom
  Add one or more geospatial items in the geospatial index represented using a sorted set
  3.2.0: O(log(N)) for each item added, where N is the number of elements in the sorted set.
GEODIST -4 1,1,1 readonly
  Returns the distance between two members of a geospatial index
  3.2.0: O(log(N))
GEOHASH -2 1,1,1 readonly
  Returns members of a geospatial index as standard geohash strings
  3.2.0: O(log(N)) for each member requested, where N is the number of elements in the sorted set.
GEOPOS -2 1,1,1 readonly
  Returns longitude and latitude of members of a geospatial index
  3.2.0: O(N) where N is the number of members requested.
GEORADIUS -6 1,1,1 write denyoom movablekeys
  Query a sorted set representing a geospatial index to fetch members matching a given maximum
    distance from a point
  3.2.0: O(N+log(M)) where N is the number of elements inside the bounding box of the circular area
    delimited by center and radius and M is the number of items inside the index.
GEORADIUSBYMEMBER -5 1,1,1 write denyoom movablekeys
  Query a sorted set representing a geospatial index to fetch members matching a given maximum
    distance from a member
  3.2.0: O(N+log(M)) where N is the number of elements inside the bounding box of the circular area
    delimited by center and radius and M is the number of items inside the index.
GEORADIUSBYMEMBER_RO -5 1,1,1 readonly
  A read-only variant for GEORADIUSBYMEMBER
  3.2.10: O(N+log(M)) where N is the number of elements inside the bounding box of the circular
    area delimited by center and radius and M is the number of items inside the index.
GEORADIUS_RO -6 1,1,1 readonly
  A read-only variant for GEORADIUS
  3.2.10: O(N+log(M)) where N is the number of elements inside the bounding box of the circular
    area delimited by center and radius and M is the number of items inside the index.
GEOSEARCH -7 1,1,1 readonly
  Query a sorted set representing a geospatial index to fetch members inside an area of a box or a
    circle.
  6.2.0: O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around
    the shape provided as the filter and M is the number of items inside the shape
GEOSEARCHSTORE -8 1,2,1 write denyoom
  Query a sorted set representing a geospatial index to fetch members inside an area of a box or a
    circle, and store the result in another key.
  6.2.0: O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around
    the shape provided as the filter and M is the number of items inside the shape
"""
