-- A member says that it lives, and takes and gives up leases.
-- ARGV: group, member, its description, the lease in ms, number of claims, then lane and former epoch of each,
-- number of what is given up, then lane and epoch of each.
-- Returns the time, the moment before which nobody could be heard, the members, the cursors, and the ends and the
-- largest message of each lane that is this member's.

local group, member, ttl = ARGV[3], ARGV[4], tonumber(ARGV[6])
local members, now = members_of(group), now_ms()

local function heard(text) return tonumber(string.match(text, '^%d+')) end

-- Where everybody was silent, we among them, the server was away: nobody is dead for that.
local before, all, latest = redis.call('HGET', members, member), redis.call('HGETALL', members), 0
for at = 1, #all, 2 do latest = math.max(latest, heard(all[at + 1])) end
local resumed = tonumber(redis.call('GET', prefix .. ':resumed:' .. group) or '0')
if before and now - latest > ttl / 2 then
  resumed = now
  redis.call('SET', prefix .. ':resumed:' .. group, number(now))
end

redis.call('HSET', members, member, number(now) .. ' ' .. ARGV[5])
local alive = {[member] = true}
for at = 1, #all, 2 do
  local last = math.max(heard(all[at + 1]), resumed)
  if last + ttl > now then
    alive[all[at]] = true
  elseif last + 100 * ttl < now and all[at] ~= member then
    redis.call('HDEL', members, all[at])
  end
end

local at, changed = 8, not before
for _ = 1, tonumber(ARGV[7]) do
  local it = cursor(group, ARGV[at])
  if it and number(it.epoch) == ARGV[at + 1] and (it.owner == member or not alive[it.owner]) then
    it.owner, it.epoch, changed = member, it.epoch + 1, true
    keep(group, ARGV[at], it)
  end
  at = at + 2
end
local given = tonumber(ARGV[at])
at = at + 1
for _ = 1, given do
  local it = cursor(group, ARGV[at])
  if it and it.owner == member and number(it.epoch) == ARGV[at + 1] then
    it.owner, changed = '-', true
    keep(group, ARGV[at], it)
  end
  at = at + 2
end
if changed then announce(group) end

local cursors, own = redis.call('HGETALL', cursors_of(group)), {}
for place = 1, #cursors, 2 do
  if string.match(cursors[place + 1], '^%S+ %S+ %S+ %S+ (.*)$') == member then
    local lane = cursors[place]
    local found = ends(lane)
    found[6] = redis.call('HGET', prefix .. ':largest', lane) or '0'
    found[7] = lane
    own[#own + 1] = found
  end
end
return {number(now), number(resumed), redis.call('HGETALL', members), cursors, own}
