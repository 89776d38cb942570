-- Append messages. ARGV: number of topics, then name and partitions of each; number of sizes, then lane and size of
-- each; then of each message its lane, the number of its strings, and the strings.
-- Returns nothing, or of each lane that refused: lane, place of its first refused message, reason.

local at = 4
for _ = 1, tonumber(ARGV[3]) do
  local held = redis.call('HGET', prefix .. ':topics', ARGV[at])
  if not held or string.match(held, '^%d+') ~= ARGV[at + 1] then
    return redis.error_reply('TOPIC ' .. ARGV[at])
  end
  at = at + 2
end

local sizes = tonumber(ARGV[at])
at = at + 1
for _ = 1, sizes do
  local largest = redis.call('HGET', prefix .. ':largest', ARGV[at])
  if not largest or tonumber(largest) < tonumber(ARGV[at + 1]) then
    redis.call('HSET', prefix .. ':largest', ARGV[at], ARGV[at + 1])
  end
  at = at + 2
end

local refused, answer, place, total = {}, {}, 0, #ARGV
while at <= total do
  local lane, count = ARGV[at], tonumber(ARGV[at + 1])
  if not refused[lane] then
    local added = redis.pcall('XADD', log_of(lane), '*', unpack(ARGV, at + 2, at + 1 + count))
    if type(added) == 'table' and added.err then
      refused[lane] = true
      answer[#answer + 1] = lane
      answer[#answer + 1] = place
      answer[#answer + 1] = added.err
    end
  end
  at = at + 2 + count
  place = place + 1
end
return answer
