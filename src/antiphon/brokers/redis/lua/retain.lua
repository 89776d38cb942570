-- Delete what need not be kept of one topic, a bounded step at a time.
-- ARGV: topic, partitions, ms to keep or '-', bytes to keep or '-', whether what every group has read is deleted.
-- Returns how many entries were deleted, and 1 when there is more to do.

local topic, partitions, deleted = ARGV[3], tonumber(ARGV[4]), 0
local lanes = {}
for number_ = 0, partitions - 1 do
  if redis.call('EXISTS', log_of(topic .. ':' .. number_)) == 1 then lanes[#lanes + 1] = topic .. ':' .. number_ end
end

-- Delete up to this id, itself included.
local function trim(lane, last)
  local floor = redis.call('HGET', floors(), lane) or '0-0'
  if not is_after(last, floor) then return end
  redis.call('HSET', floors(), lane, last)
  local moment, count = string.match(last, '^(%d+)-(%d+)$')
  local next_ = moment .. '-' .. number(tonumber(count) + 1)
  deleted = deleted + redis.call('XTRIM', log_of(lane), 'MINID', '=', next_)
end

local function last_before(lane, id)
  local found = redis.call('XREVRANGE', log_of(lane), '(' .. id, '-', 'COUNT', '1')
  return found[1] and found[1][1]
end

if ARGV[5] ~= '-' then
  local oldest = number(math.max(1, now_ms() - tonumber(ARGV[5]))) .. '-0'
  for _, lane in ipairs(lanes) do
    local last = last_before(lane, oldest)
    if last then trim(lane, last) end
  end
end

if ARGV[7] == 'yes' then
  local groups = redis.call('SMEMBERS', prefix .. ':groups')
  for _, lane in ipairs(lanes) do
    local slowest
    for _, group in ipairs(groups) do
      local it = cursor(group, lane)
      if it and (not slowest or is_after(slowest, it.position)) then slowest = it.position end
    end
    if slowest then trim(lane, slowest) end
  end
end

if ARGV[6] == '-' then return {deleted, 0} end

local function held()
  local bytes, entries = 0, 0
  for _, lane in ipairs(lanes) do
    local length = redis.call('XLEN', log_of(lane))
    bytes = bytes + bytes_of(lane, length)
    entries = entries + length
  end
  return bytes, entries
end

for _ = 1, 16 do
  local bytes, entries = held()
  local excess = bytes - tonumber(ARGV[6])
  if excess <= 0 or entries == 0 then return {deleted, 0} end
  local oldest, first
  for _, lane in ipairs(lanes) do
    local found = redis.call('XRANGE', log_of(lane), '-', '+', 'COUNT', '1')
    if found[1] and (not oldest or is_after(first, found[1][1])) then oldest, first = lane, found[1][1] end
  end
  -- They are read to learn the last one's id: no more than some megabyte of them.
  local count = math.max(1, math.min(1000, math.floor(entries * excess / bytes / #lanes), math.floor(entries * 2 ^ 20 / bytes)))
  local found = redis.call('XRANGE', log_of(oldest), '-', '+', 'COUNT', number(count))
  trim(oldest, found[#found][1])
end
return {deleted, 1}
