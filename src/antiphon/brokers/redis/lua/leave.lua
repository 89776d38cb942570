-- Leave a group and give everything up. ARGV: group, member.

local group, member = ARGV[3], ARGV[4]
local all = redis.call('HGETALL', cursors_of(group))
for at = 1, #all, 2 do
  local it = cursor(group, all[at])
  if it.owner == member then
    it.owner = '-'
    keep(group, all[at], it)
  end
end
redis.call('HDEL', members_of(group), member)
redis.call('DEL', prefix .. ':bell:' .. member)
announce(group)
return 1
