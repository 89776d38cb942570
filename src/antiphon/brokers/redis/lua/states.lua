-- What lanes hold. ARGV: lanes. Returns entries and bytes of each.

local answer = {}
for at = 3, #ARGV do
  local length = redis.call('XLEN', log_of(ARGV[at]))
  answer[#answer + 1] = length
  answer[#answer + 1] = bytes_of(ARGV[at], length)
end
return answer
