-- Functions of Lua that trust their arguments: with some of them its C code ends the process, or does
-- not come back. What is raised here comes from where they were called.
--
-- Run once in each interpreter, before prelude.lua, which gives scripts what this returns.

local host = ...

local error, find, gsub, ipairs, pcall, select, tonumber, type, unpack =
  error, string.find, string.gsub, ipairs, pcall, select, tonumber, type, unpack

-- Lua's matcher calls itself for each item of a pattern that may be repeated, and nothing bounds how
-- often: many thousands of them would end the process.
local function check_pattern(name, _, pattern, _, is_plain)
  if type(pattern) ~= "string" or #pattern <= host.repeats_max then return end
  if name == "find" and is_plain then return end
  local _, repeats = gsub(pattern, "[*+?-]", "")
  if repeats > host.repeats_max then error({err = host.too_many_repeats}, 0) end
end

local own_errors = {
  "^malformed pattern", "^unfinished capture$", "^invalid capture index$", "^invalid pattern capture$",
  "^missing '%[' after", "^too many captures$", "^invalid replacement value", "^string slice too long$",
  "^too many results to unpack$", "^invalid order function for sorting$",
}

-- What Lua's function raises comes from where it was called; what a script's function does, as it is.
local function matched(name, ok, problem, ...)
  if ok then return problem, ... end
  if type(problem) ~= "string" then error(problem, 0) end
  local told, is_argument = gsub(problem, "^(bad argument #%d+ to )'%?'", "%1'" .. name .. "'")
  for _, own in ipairs(own_errors) do is_argument = find(problem, own) and 1 or is_argument end
  error(told, is_argument == 1 and 3 or 0)
end

local strings = {}
for _, name in ipairs({"find", "match", "gmatch", "gfind", "gsub"}) do
  local called = string[name]
  strings[name] = called and function(...)
    check_pattern(name, ...)
    return matched(name, pcall(called, ...))
  end
end

-- Lua takes its places for C's integers, and counts them in these: behind 2^31 the process ended.
local function bounded_unpack(...)
  local list, first, last = ...
  local from, to = tonumber(first or 1), tonumber(last or type(list) == "table" and #list or 0)
  if type(list) == "table" and from and to then
    if from >= 2^31 or to - from >= host.results_max then error("too many results to unpack", 2) end
    if not (from <= to) then return end
  end
  return matched("unpack", pcall(unpack, ...))
end

-- Of such words Lua's compiler keeps lists, and walks to the end of one for each that is added.
local function is_tangled(source)
  local count, most = 0, host.chained_max
  for _, word in ipairs(#source > 2 * most and {"and", "or", "elseif", "break"} or {}) do
    count = count + select(2, gsub(source, "%f[%w_]" .. word .. "%f[^%w_]", ""))
  end
  return count > most
end

local guards = {strings = strings, unpack = bounded_unpack, is_tangled = is_tangled}
local sort = table.sort

-- One takes a second, and is one step; look_at_time: of prelude.lua.
function guards.sort(...)
  guards.look_at_time()
  return matched("sort", pcall(sort, ...))
end

return guards
