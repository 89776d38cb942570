-- Where a group stands. ARGV: group. Returns the time, the members, and of each lane: lane, cursor, ends, first
-- unread id ('-' when there is none).

local group, lanes = ARGV[3], {}
local cursors = redis.call('HGETALL', cursors_of(group))
for at = 1, #cursors, 2 do
  local lane = cursors[at]
  local it = cursor(group, lane)
  local unread = redis.call('XRANGE', log_of(lane), '(' .. it.position, '+', 'COUNT', '1')
  lanes[#lanes + 1] = {lane, cursors[at + 1], ends(lane), unread[1] and unread[1][1] or '-'}
end
return {number(now_ms()), redis.call('HGETALL', members_of(group)), lanes}
