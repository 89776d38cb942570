-- What all scripts begin with. A lane is one partition, "topic:number"; positions are ids of stream entries.
-- KEYS[1] holds the id of this log; ARGV[1] is the prefix of all keys, ARGV[2] the id that the caller knows.

local prefix = ARGV[1]
if redis.call('GET', KEYS[1]) ~= ARGV[2] then
  return redis.error_reply('WIPED the log that was here is gone')
end

local function log_of(lane) return prefix .. ':log:' .. lane end
local function floors() return prefix .. ':floors' end

local function parts(id)
  local moment, count = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(moment), tonumber(count)
end

local function is_after(one, other)
  if one == other then return false end
  local a, b = parts(one)
  local c, d = parts(other)
  return a > c or (a == c and b > d)
end

-- Last id, entries ever added, entries held, first id held ('-' when there is none), last id that was trimmed.
local function ends(lane)
  local floor = redis.call('HGET', floors(), lane) or '0-0'
  if redis.call('EXISTS', log_of(lane)) == 0 then return {'0-0', 0, 0, '-', floor} end
  local info, found = redis.call('XINFO', 'STREAM', log_of(lane)), {}
  for at = 1, #info, 2 do found[info[at]] = info[at + 1] end
  local first = found['first-entry']
  return {found['last-generated-id'], found['entries-added'], found['length'], first and first[1] or '-', floor}
end

-- What the server's memory holds of a lane; of a long one it is estimated, as counting would stop the server.
local function bytes_of(lane, length)
  if length == 0 then return 0 end
  return redis.call('MEMORY', 'USAGE', log_of(lane), 'SAMPLES', length > 10000 and '5' or '0')
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- A group's place in a lane: position, entries up to it, epoch, entries missed, owner ('-' for nobody).
local function cursors_of(group) return prefix .. ':cursors:' .. group end
local function members_of(group) return prefix .. ':members:' .. group end

local function cursor(group, lane)
  local text = redis.call('HGET', cursors_of(group), lane)
  if not text then return nil end
  local position, count, epoch, missed, owner = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (.*)$')
  return {
    position = position, count = tonumber(count), epoch = tonumber(epoch), missed = tonumber(missed), owner = owner,
  }
end

local function number(value) return string.format('%.0f', value) end

local function keep(group, lane, it)
  local text = table.concat({it.position, number(it.count), number(it.epoch), number(it.missed), it.owner}, ' ')
  redis.call('HSET', cursors_of(group), lane, text)
end

-- Let Redis's own tools see where the group stands.
local function show(group, lane, it)
  local moved = redis.pcall(
    'XGROUP', 'SETID', log_of(lane), group, it.position, 'ENTRIESREAD', number(it.count))
  if type(moved) == 'table' and moved.err then
    redis.call(
      'XGROUP', 'CREATE', log_of(lane), group, it.position, 'MKSTREAM', 'ENTRIESREAD', number(it.count))
  end
end

local function announce(group)
  redis.call('XADD', prefix .. ':news:' .. group, 'MAXLEN', '1', '*', 'changed', '1')
end

local function place_of(lane, start)
  local last, added, held, _, floor = unpack(ends(lane))
  if start == 'end' or held == 0 then return {position = last, count = added} end
  return {position = floor, count = added - held}
end

local function make_cursor(group, lane, start)
  local it = place_of(lane, start)
  it.epoch, it.missed, it.owner = 0, 0, '-'
  keep(group, lane, it)
  show(group, lane, it)
end
