-- Count entries, a bounded step at a time. ARGV: lane, the id after which, the id up to which, at most how many.
-- Returns how many there are and the last of them.

local found = redis.call('XRANGE', log_of(ARGV[3]), '(' .. ARGV[4], ARGV[5], 'COUNT', ARGV[6])
return {#found, #found > 0 and found[#found][1] or ARGV[4]}
