-- Functions of Lua that trust their arguments: with some of them its C code ends the process, or does
-- not come back. What is raised here comes from where they were called.
--
-- Run once in each interpreter, before prelude.lua, which gives scripts what this returns.

local host, patterns = ...

local byte, find, gsub, log = string.byte, string.find, string.gsub, math.log
local error, ipairs, pcall, select, tonumber, tostring, type, unpack =
  error, ipairs, pcall, select, tonumber, tostring, type, unpack

local guards = {}  -- prelude.lua adds look_at_time and check_size

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

-- How many steps the matcher may take at most, as a logarithm: each item that repeats, or looks
-- for its end, may end anywhere, but for one behind which nothing can fail, and the match may begin
-- anywhere. The length of a short pattern hardly matters.
local function steps_log(subject, pattern)
  local size_log = log(#subject + 2)
  if #pattern * size_log < host.few_steps_log then return 0 end
  local _, repeats = gsub(pattern, "[*+-]", "")
  local _, options = gsub(pattern, "%?", "")
  local _, searches = gsub(pattern, "%%[b1-9]", "")
  local begins, free = byte(pattern) == 94 and 0 or 1, find(pattern, "[*+-]%)*$") and 1 or 0
  local ends = repeats + searches - free + begins
  return ends * size_log + options * log(2) + (#pattern > 64 and log(#pattern) or 0)
end

local specials = "[%^%$%*%+%?%.%(%[%%%-]"

-- What string.find does with a text that is no pattern: C compares all of it at each place.
local function find_text(subject, text, init)
  local from = patterns.place_of(init, #subject)
  if #subject * #text <= host.compared_bytes_max then return find(subject, text, from, true) end
  guards.look_at_time()
  guards.check_size(subject, text)
  local at = host.find_text(subject, text, from - 1)
  if at < 0 then return nil end
  return at + 1, at + #text
end

-- The function for these arguments: one of C, unless it might take too long.
local function matching(name, called, subject, pattern, third, fourth)
  if type(subject) == "number" then subject = tostring(subject) end
  if type(subject) ~= "string" or type(pattern) ~= "string" then return called end
  if name == "find" and (third == nil or tonumber(third))
      and #subject * #pattern > host.compared_bytes_max
      and (fourth or not find(gsub(pattern, "%z.*", ""), specials)) then
    return function(_, ...) return find_text(subject, ...) end
  end
  local steps = steps_log(subject, pattern)
  if steps > host.few_steps_log then guards.look_at_time() end
  if steps <= host.steps_log_max then return called end
  if name == "gsub" then
    local kind, is_count = type(third), fourth == nil or tonumber(fourth)
    local may_be_put = kind == "string" or kind == "number" or kind == "function" or kind == "table"
    if not (may_be_put and is_count) then return called end
  elseif name == "find" or name == "match" then
    if name == "find" and fourth or third ~= nil and not tonumber(third) then return called end
  end
  return function(_, ...) return patterns[name](subject, ...) end
end

local strings = {}
for _, name in ipairs({"find", "match", "gmatch", "gfind", "gsub"}) do
  local called = string[name]
  strings[name] = called and function(...)
    check_pattern(name, ...)
    return matched(name, pcall(matching(name, called, ...), ...))
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

guards.strings, guards.unpack, guards.is_tangled = strings, bounded_unpack, is_tangled
local sort = table.sort

-- One takes a second, and is one step.
function guards.sort(...)
  guards.look_at_time()
  return matched("sort", pcall(sort, ...))
end

return guards
