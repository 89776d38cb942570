-- Move watermarks, never back, where the lease is still the caller's.
-- ARGV: group, member, then of each: lane, epoch, position, entries up to it. Returns 1 for each that is its.

local group, member, answer = ARGV[3], ARGV[4], {}
for at = 5, #ARGV, 4 do
  local lane = ARGV[at]
  local it = cursor(group, lane)
  local owns = it and it.owner == member and number(it.epoch) == ARGV[at + 1]
  if owns and is_after(ARGV[at + 2], it.position) then
    it.position, it.count = ARGV[at + 2], tonumber(ARGV[at + 3])
    keep(group, lane, it)
    show(group, lane, it)
  end
  answer[#answer + 1] = owns and 1 or 0
end
return answer
