"""The measuring stick: raftcache beside etcd, ZooKeeper and Redis, in turns, on one machine.

How a cell is added: write a module in `cells/` that has a `SECTION` (see `model.Section`), and name
it in `catalogue.SECTIONS`. A section becomes one page of docs/benchmarks; its cells say which
systems they need and how they measure. `lab.Lab` starts those systems, keeps them from their first
cell to their last, and stops everything, whatever happens. A system is added in `systems/`, and
named in `systems.KINDS`.
"""
