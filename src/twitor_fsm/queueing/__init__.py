"""What a `QueueManager` is made of.

    options           what an app chose
    arguments         refuses arguments of the wrong kind
    producing         adds tasks
    channel           one connection, with its
        desk              hands out tasks and settles them
        takers            who takes them, and whether that acknowledges the one before
        claiming          takes and acknowledges
        holding           renews leases
        bell              wakes who waits
    consumer          runs a handler for each task
    dead_letters      lists, retries and forgets them
    health            what a health check says
    patience          goes on trying while Valkey is away
    records           what a task is, and how it is written

Must not know: the manager, how a server is reached.
"""
