-- Lua's patterns, matched step by step in Lua, so that they can be stopped.
--
-- The matcher of Lua 5.1 (lstrlib.c) is one call of C, however long it takes, and of a pattern with
-- many repetitions that is for ever. What may take long there is done here, with the same answers and
-- errors; how far one item is repeated C still tells, at once. Run once in each interpreter.

local byte, find, sub = string.byte, string.find, string.sub
local ceil, floor, max, min = math.ceil, math.floor, math.max, math.min
local concat, error, pcall, setmetatable, tonumber, tostring, type, unpack =
  table.concat, error, pcall, setmetatable, tonumber, tostring, type, unpack

local CAPTURES_MAX, UNFINISHED, POSITION = 32, -1, -2
local ESCAPE, OPENS, CLOSES, END, SET, SET_ENDS, NOT = 37, 40, 41, 36, 91, 93, 94
local OPTIONAL, STAR, PLUS, MINUS = 63, 42, 43, 45

-- Where the item that begins at a place of the pattern is over.
local function item_end(pattern, at)
  local first = byte(pattern, at)
  at = at + 1
  if first == ESCAPE then
    if at > #pattern then error("malformed pattern (ends with '%')", 0) end
    return at + 1
  end
  if first ~= SET then return at end
  if byte(pattern, at) == NOT then at = at + 1 end
  repeat  -- what comes first stands for itself
    if at > #pattern then error("malformed pattern (missing ']')", 0) end
    local escapes = byte(pattern, at) == ESCAPE
    at = at + 1
    if escapes and at <= #pattern then at = at + 1 end
  until byte(pattern, at) == SET_ENDS
  return at + 1
end

-- Items of a pattern by their places: where each is over, and patterns for one of it and for many.
local function items_of(pattern)
  return setmetatable({}, {__index = function(items, at)
    local over = item_end(pattern, at)
    local text = sub(pattern, at, over - 1)
    if #text == 1 and text ~= "." then text = "%" .. text end
    if find(text, "^%%%w$") and byte(pattern, at) ~= ESCAPE then text = sub(text, 2) end
    local item = {over = over, one = "^" .. text, many = "^" .. text .. "*", mark = byte(pattern, over)}
    items[at] = item
    return item
  end})
end

-- Functions over one subject and pattern: match(from) is where a match is over, and what it captured
-- is for the others to tell.
local function matcher(subject, pattern, begins)
  local behind, items = #subject + 1, items_of(pattern)
  local level, starts, sizes = 0, {}, {}
  local go

  local function capture(at, place, size)
    if level >= CAPTURES_MAX then error("too many captures", 0) end
    starts[level], sizes[level] = at, size
    level = level + 1
    local over = go(at, place)
    if not over then level = level - 1 end
    return over
  end

  local function close(at, place)
    local open = level - 1
    while open >= 0 and sizes[open] ~= UNFINISHED do open = open - 1 end
    if open < 0 then error("invalid pattern capture", 0) end
    sizes[open] = at - starts[open]
    local over = go(at, place)
    if not over then sizes[open] = UNFINISHED end
    return over
  end

  local function again(at, digit)
    local known = digit - 49
    if known < 0 or known >= level or sizes[known] == UNFINISHED then
      error("invalid capture index", 0)
    end
    local size = sizes[known]
    if size < 0 or behind - at < size then return nil end
    local held = sub(subject, starts[known], starts[known] + size - 1)
    return sub(subject, at, at + size - 1) == held and at + size or nil
  end

  local function balanced(at, place)
    if place + 1 > #pattern then error("unbalanced pattern", 0) end
    local opens, closes, depth = byte(pattern, place), byte(pattern, place + 1), 1
    if byte(subject, at) ~= opens then return nil end
    for next_at = at + 1, behind - 1 do
      local this = byte(subject, next_at)
      if this == closes then
        depth = depth - 1
        if depth == 0 then return next_at + 1 end
      elseif this == opens then
        depth = depth + 1
      end
    end
  end

  local function is_frontier(at, place)
    if byte(pattern, place) ~= SET then error("missing '[' after '%f' in pattern", 0) end
    local one = items[place].one
    local before = at == 1 and "\0" or sub(subject, at - 1, at - 1)
    local this = at == behind and "\0" or sub(subject, at, at)
    return not find(before, one) and find(this, one) ~= nil
  end

  local function as_many_as_there_are(at, item)
    local _, last = find(subject, item.many, at)
    for over = last + 1, at, -1 do
      local found = go(over, item.over + 1)
      if found then return found end
    end
  end

  local function as_few_as_may_be(at, item)
    while true do
      local found = go(at, item.over + 1)
      if found then return found end
      if not find(subject, item.one, at) or at == behind then return nil end
      at = at + 1
    end
  end

  -- What escapes and is no class: where to go on in subject and pattern; nil if that does not match.
  local function special(at, place)
    local kind = byte(pattern, place + 1)
    if kind == 98 then return balanced(at, place + 2), place + 4 end
    if kind == 102 then
      return is_frontier(at, place + 2) and at or nil, items[place + 2].over
    end
    return again(at, kind), place + 2
  end

  local function is_special(place)
    local kind = byte(pattern, place + 1)
    return kind == 98 or kind == 102 or (kind ~= nil and kind >= 48 and kind <= 57)
  end

  go = function(at, place)
    while at do
      local first = byte(pattern, place)
      if not first then return at end
      if first == OPENS then
        if byte(pattern, place + 1) == CLOSES then return capture(at, place + 2, POSITION) end
        return capture(at, place + 1, UNFINISHED)
      elseif first == CLOSES then
        return close(at, place + 1)
      elseif first == END and place == #pattern then
        return at == behind and at or nil
      elseif first == ESCAPE and is_special(place) then
        at, place = special(at, place)
      else
        local item = items[place]
        local matches, mark = at < behind and find(subject, item.one, at) ~= nil, item.mark
        if mark == STAR then return as_many_as_there_are(at, item) end
        if mark == PLUS then return matches and as_many_as_there_are(at + 1, item) or nil end
        if mark == MINUS then return as_few_as_may_be(at, item) end
        if mark == OPTIONAL then
          local found = matches and go(at + 1, item.over + 1)
          if found then return found end
          place = item.over + 1
        elseif matches then
          at, place = at + 1, item.over
        else
          return nil
        end
      end
    end
  end

  local function captured(number, from, over)
    if number >= level then
      if number > 0 then error("invalid capture index", 0) end
      return sub(subject, from, over - 1)
    end
    local size = sizes[number]
    if size == UNFINISHED then error("unfinished capture", 0) end
    if size == POSITION then return starts[number] end
    return sub(subject, starts[number], starts[number] + size - 1)
  end

  -- All of them; the whole match if there are none, and it is asked for.
  local function all_captured(from, over)
    local count, values = level == 0 and from and 1 or level, {}
    for number = 0, count - 1 do values[number + 1] = captured(number, from, over) end
    return values, count
  end

  local function match(from)
    level = 0
    return go(from, begins)
  end

  return match, captured, all_captured
end

-- As C reads a pattern: a zero ends it.
local function as_read(pattern)
  local zero = find(pattern, "\0", 1, true)
  return zero and sub(pattern, 1, zero - 1) or pattern
end

local function place_of(init, size)
  init = tonumber(init) or 1
  init = init < 0 and ceil(init) + size + 1 or floor(init)
  return max(1, min(init, size + 1))
end

local function look(subject, pattern, init, finds)
  pattern = as_read(pattern)
  local is_anchored = byte(pattern, 1) == NOT
  local match, _, all_captured = matcher(subject, pattern, is_anchored and 2 or 1)
  for from = place_of(init, #subject), #subject + 1 do
    local over = match(from)
    if over then
      if not finds then
        local values, count = all_captured(from, over)
        return unpack(values, 1, count)
      end
      local values, count = all_captured()
      return from, over - 1, unpack(values, 1, count)
    end
    if is_anchored then break end
  end
  return nil
end

local patterns = {place_of = place_of}

function patterns.find(subject, pattern, init)
  return look(subject, pattern, init, true)
end

function patterns.match(subject, pattern, init)
  return look(subject, pattern, init, false)
end

function patterns.gmatch(subject, pattern)
  local match, _, all_captured = matcher(subject, as_read(pattern), 1)
  local next_at = 1
  local function attempt(from)
    local over = match(from)
    if over then return over, all_captured(from, over) end
  end
  return function()
    for from = next_at, #subject + 1 do
      local ok, over, values, count = pcall(attempt, from)
      if not ok then error(over, type(over) == "string" and 2 or 0) end
      if over then
        next_at = over == from and over + 1 or over
        return unpack(values, 1, count)
      end
    end
    next_at = #subject + 2
  end
end
patterns.gfind = patterns.gmatch

-- What stands in the place of a match.
local function put_in(into, subject, captured, all_captured, from, over)
  local whole, value = sub(subject, from, over - 1)
  if type(into) == "function" then
    local values, count = all_captured(from, over)
    value = into(unpack(values, 1, count))
  elseif type(into) == "table" then
    value = into[captured(0, from, over)]
  else
    local function named(name)
      if find(name, "^%d") then return name == "0" and whole or captured(byte(name) - 49, from, over) end
      return name == "" and "\0" or name
    end
    local made, at = {}, 1
    repeat
      local mark = find(into, "%", at, true)
      made[#made + 1] = sub(into, at, (mark or #into + 1) - 1)
      made[#made + 1] = mark and named(sub(into, mark + 1, mark + 1)) or nil
      at = mark and mark + 2
    until not at or at > #into
    return concat(made)
  end
  if not value then return whole end
  if type(value) == "string" or type(value) == "number" then return value end
  error("invalid replacement value (a " .. type(value) .. ")", 0)
end

function patterns.gsub(subject, pattern, into, most)
  pattern = as_read(pattern)
  local is_anchored = byte(pattern, 1) == NOT
  local match, captured, all_captured = matcher(subject, pattern, is_anchored and 2 or 1)
  local made, kept, from, count = {}, 1, 1, 0
  into = type(into) == "number" and tostring(into) or into
  most = floor(tonumber(most) or #subject + 1)
  while count < most and from <= #subject + 1 do
    local over = match(from)
    if over then
      count = count + 1
      made[#made + 1] = sub(subject, kept, from - 1)
      made[#made + 1] = put_in(into, subject, captured, all_captured, from, over)
      kept = over
    end
    from = over and over > from and over or from + 1
    if is_anchored then break end
  end
  made[#made + 1] = sub(subject, kept)
  return concat(made), count
end

return patterns
