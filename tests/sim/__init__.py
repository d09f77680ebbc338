"""A whole cluster in one process, under one virtual clock and one seed.

The parts under test are the real ones, put together by the same code that the node uses; simulated
are clocks, chance, links, disks, worker threads, crashes and clients. One seed is one run: the
same seed gives the same trace, on any machine. A run has a *safety* phase with faults, then it
*heals*, and then must become *live*: one leader, equal replicas, and an end to every call. A
cluster may also end for good, and another one begin with what is left of it.

    world       one run: makes the parts, keeps the verdict
    schedule    virtual time: the queue of events, drifting clocks, the loop a node is given
    network     links: delays, resets, partitions
    lane        worker threads that take virtual time, and what a crash leaves of their work
    member      one node, from its disk up, through any number of lives
    verdicts    what an error of a node means
    watched     the real log and state machine, and an account of what went through them
    nemesis     faults
    operators   who adds, promotes, removes and replaces members
    clients     who proposes and reads, and what they were told
    sessions    clients who try again; their histories are judged for linearizability
    store       clients of transactions, ranges, leases, locks and evictions
    audit       what must hold of them
    redis_*     Redis clients: how they ask (clients), what for (asks), step by step (steps), of
                which keys (keys); what must hold of these (audit), and of what clients were told
                (ledger); what of it one cluster leaves to the next (heritage)
    epochs      a cluster ends, and another begins with the data of one node, or with a backup
    ending      what a story says of that
    heritage    what one leaves to the next: by its history, and on a disk (remains)
    saving      who takes backups; by coroutines, which run on virtual time (coroutines)
    checker     what must hold after every step
    profile     how fast, how faulty: drawn from the seed
    stock       the engine as shipped, under the same faults: the simulator must find it wanting
    editions    members of two versions: what an older one does not know
    stories     what random faults hardly ever come to, brought about on purpose
    mutations   ours with one rule taken out (mutation): the simulator must notice; those of one
                subject are in mutations_of_backlog, _epochs, _members and _redis
    play        one run, as a worker process plays it
    campaign    many runs, counted

    scripts/sim --seeds 1-500 --profile mixed --jobs 2
    scripts/sim --seeds 1-1000 --profile all --jobs 2 --report FILE
    scripts/sim --seeds 17 --trace
    scripts/sim --control no-fsync
"""
