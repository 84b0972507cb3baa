"""The parts of the queue that know tasks: records, leases held, consuming, dead letters."""
