#!lua
-- Writes nothing, yet may: so a full server, a replica, and one whose rights do not suffice refuse it as they would a
-- reservation. KEYS: 1 any key of the policy, so that a cluster is asked where the policy's keys are.
return redis.call('TIME')[1]
