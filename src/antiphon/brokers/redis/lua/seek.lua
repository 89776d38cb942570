-- Move a group and fence what its members hold.
-- ARGV: group, then of each lane: lane, position (or start or end), entries up to it.

local group = ARGV[3]
redis.call('SADD', prefix .. ':groups', group)
for at = 4, #ARGV, 3 do
  local lane, position = ARGV[at], ARGV[at + 1]
  local it = cursor(group, lane) or {epoch = 0, missed = 0, owner = '-'}
  if position == 'start' or position == 'end' then
    local place = place_of(lane, position)
    it.position, it.count = place.position, place.count
  else
    it.position, it.count = position, tonumber(ARGV[at + 2])
  end
  it.epoch = it.epoch + 1
  keep(group, lane, it)
  show(group, lane, it)
end
announce(group)
return 1
