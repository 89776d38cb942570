-- Make topics. ARGV: whether one that exists is changed, then of each its name, partitions, and retention as
-- "keep_for keep_bytes". Returns the number of partitions of each.

local answer, topics = {}, prefix .. ':topics'
for at = 4, #ARGV, 3 do
  local name, partitions, retention = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local held = redis.call('HGET', topics, name)
  local found = held and string.match(held, '^%d+') or partitions
  if not held or (ARGV[3] == 'change' and found == partitions) then
    redis.call('HSET', topics, name, partitions .. ' ' .. retention)
  end
  answer[#answer + 1] = tonumber(found)
end
return answer
