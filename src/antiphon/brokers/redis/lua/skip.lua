-- Move a watermark over what retention deleted. ARGV: group, member, lane, epoch, start or end.
-- Returns the new position and the entries up to it, or nothing where the lease is not the caller's.

local group, lane = ARGV[3], ARGV[5]
local it = cursor(group, lane)
if not it or it.owner ~= ARGV[4] or number(it.epoch) ~= ARGV[6] then return {} end
local place = place_of(lane, ARGV[7])
it.missed = it.missed + math.max(0, place.count - it.count)
it.position, it.count = place.position, place.count
keep(group, lane, it)
show(group, lane, it)
return {it.position, number(it.count)}
