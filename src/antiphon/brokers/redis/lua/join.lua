-- Enter a group. ARGV: group, member, its description, where a group without a place begins, lanes.

local group, member = ARGV[3], ARGV[4]
redis.call('SADD', prefix .. ':groups', group)
for at = 7, #ARGV do
  if redis.call('HEXISTS', cursors_of(group), ARGV[at]) == 0 then make_cursor(group, ARGV[at], ARGV[6]) end
end
redis.call('HSET', members_of(group), member, number(now_ms()) .. ' ' .. ARGV[5])
announce(group)
return 1
