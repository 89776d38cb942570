-- The ends of lanes. ARGV: lanes.

local answer = {}
for at = 3, #ARGV do answer[#answer + 1] = ends(ARGV[at]) end
return answer
