-- The world that a script finds: that of Redis 7.0 (script_lua.c), and nothing that leads out of it.
--
-- Run once in each interpreter. It is given what Python does, and returns what Python needs.
-- Everything a script can reach is a view that it cannot write, so nothing of one script is left
-- for the next; its globals are KEYS, ARGV and what stands here.

local host, guards, steps_per_look = ...

local debug, error, pcall, rawget, rawset, setfenv, setmetatable, tostring, type, unpack, xpcall =
  debug, error, pcall, rawget, rawset, setfenv, setmetatable, tostring, type, unpack, xpcall
local getinfo, loadstring, sethook = debug.getinfo, loadstring, debug.sethook

local views = setmetatable({}, {__mode = "k"})

local function refuse_write()
  error("Attempt to modify a readonly table", 2)
end

local function refuse_read(_, name)
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end

-- A table that shows what is in another one.
local function view(content)
  local made = setmetatable({}, {__index = content, __newindex = refuse_write, __metatable = false})
  views[made] = true
  return made
end

-- What Python answers: a value, or, if it is at fault, a table with err, or a line to be raised.
local function raised(value)
  if type(value) == "table" and value.err ~= nil then error(value, 0) end
  return value
end

local looks_left = 0

-- Once it is over, each step fails, so that a script cannot catch it and go on.
local function look()
  looks_left = looks_left - 1
  if looks_left <= 0 or host.is_late() then
    looks_left = 0
    sethook(look, "", 1)
    error({err = host.too_long}, 0)
  end
end

-- What Python does is one step, and may take long.
local function look_at_time()
  if looks_left <= 0 or host.is_late() then
    looks_left = 0
    look()
  end
end

-- Python copies each string that it is given. That they cannot be too many bytes is told at once
-- where Lua has not so many of them in all.
local collectgarbage, select = collectgarbage, select

local function check_size(...)
  local count = select("#", ...)
  if count * collectgarbage("count") * 1024 <= host.given_size_bytes_max then return end
  local given, size_bytes = {...}, 0
  for place = 1, count do
    if type(given[place]) == "string" then size_bytes = size_bytes + #given[place] end
  end
  if size_bytes > host.given_size_bytes_max then error({err = host.too_large}, 0) end
end

-- A function of Python's, that a script may not have as it is. is_quick: it never takes long.
local function of_host(name, level, is_quick)
  local called = host[name]
  return function(...)
    check_size(...)
    local value, why = called(...)
    if not is_quick then look_at_time() end
    if why ~= nil then error(why, level or 2) end
    return value
  end
end

-- The same, where the answer is several values.
local function several(name)
  local called = of_host(name, 3)
  return function(...)
    local values = called(...)
    return unpack(values, 1, values.n)
  end
end

local call, setresp, log = host.call, host.setresp, host.log

local redis = {
  REDIS_VERSION = host.version, REDIS_VERSION_NUM = host.version_number,
  LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
  REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
  call = function(...)
    check_size(...)
    local value = call(...)
    look_at_time()
    return raised(value)
  end,
  pcall = function(...)
    check_size(...)
    local value = call(...)
    look_at_time()
    return value
  end,
  error_reply = function(text, ...)
    if type(text) ~= "string" or select("#", ...) > 0 then
      return {err = "ERR wrong number or type of arguments"}
    end
    text = text:gsub("^%-", "")
    return {err = text:find(" ", 1, true) and text or "ERR " .. text}
  end,
  status_reply = function(text, ...)
    if type(text) ~= "string" or select("#", ...) > 0 then
      return {err = "ERR wrong number or type of arguments"}
    end
    return {ok = text}
  end,
  sha1hex = function(...)
    if select("#", ...) ~= 1 then error({err = "ERR wrong number of arguments"}, 0) end
    local digest = host.sha1hex(tostring((...)))
    look_at_time()
    return digest
  end,
  log = function(...)
    check_size(...)
    local value = log(...)
    look_at_time()
    raised(value)
  end,
  setresp = function(...)
    check_size(...)
    raised(setresp(...))
  end,
  replicate_commands = function() return true end,  -- what a script does always goes as its effects
  set_repl = function() end,
  breakpoint = function() return false end,
  debug = function() end,
  acl_check_cmd = function() return true end,
}

local cjson = {null = host.null, encode = of_host("encode_json"), decode = of_host("decode_json")}
local cmsgpack = {pack = of_host("pack"), unpack = several("unpack")}
local struct = {
  pack = of_host("pack_struct"), unpack = several("unpack_struct"), size = of_host("size_of_struct"),
}
local bit = {}
for _, name in ipairs({
  "tobit", "tohex", "bnot", "band", "bor", "bxor", "lshift", "rshift", "arshift", "rol", "ror", "bswap",
}) do
  bit[name] = of_host(name, 2, true)
end

-- A coroutine has steps of its own: those of one that ends before its first look are counted by the
-- look that it takes to make it.
local create, resume, status = coroutine.create, coroutine.resume, coroutine.status

local function created(called, name)
  if type(called) ~= "function" or getinfo(called, "S").what == "C" then
    error("bad argument #1 to '" .. name .. "' (Lua function expected)", 3)
  end
  look()
  local made = create(called)
  sethook(made, look, "", steps_per_look)
  return made
end

-- What is over within is over for the caller, too; what is dead has no hook, which would outlive it.
local function resumed(made, ...)
  if looks_left <= 0 then look() end
  if status(made) == "dead" then sethook(made) end
  return ...
end

local coroutines = {
  status = status, running = coroutine.running, yield = coroutine.yield,
  create = function(called)
    local made = created(called, "create")
    return made  -- no tail call, which has no line
  end,
  resume = function(made, ...)
    if type(made) ~= "thread" then
      error("bad argument #1 to 'resume' (coroutine expected)", 2)
    end
    return resumed(made, resume(made, ...))
  end,
  wrap = function(called)
    local made = created(called, "wrap")
    local function answered(ok, ...)
      if not ok then error((...), 3) end
      return ...
    end
    return function(...)
      return answered(resumed(made, resume(made, ...)))
    end
  end,
}

local function without(content, ...)
  local rest = {}
  for name, value in pairs(content) do rest[name] = value end
  for _, name in ipairs({...}) do rest[name] = nil end
  return rest
end

local strings = without(string, "dump")
for name, guarded in pairs(guards.strings) do strings[name] = guarded end
local tables = without(table)
tables.sort, guards.look_at_time, guards.check_size = guards.sort, look_at_time, check_size
getmetatable("").__index = strings
getmetatable("").__metatable = false

-- All objects of Python's have one: who could write there would be called in their place.
getmetatable(host.call).__metatable = false

local world = {
  _VERSION = _VERSION,
  assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs,
  rawequal = rawequal, rawget = rawget, select = select,
  getmetatable = getmetatable, setmetatable = setmetatable,
  tonumber = tonumber, tostring = tostring, type = type, unpack = guards.unpack,
  string = view(strings), table = view(tables), math = view(math),
  redis = view(redis), cjson = view(cjson), cmsgpack = view(cmsgpack), bit = view(bit),
  struct = view(struct), coroutine = view(coroutines),
}

-- As Redis has it: of an error that a command has answered, its text.
function world.pcall(...)
  local function answered(ok, problem, ...)
    if not ok and type(problem) == "table" and type(rawget(problem, "err")) == "string" then
      return false, rawget(problem, "err")
    end
    return ok, problem, ...
  end
  return answered(pcall(...))
end

-- The handler comes when the error is over. Lua calls it from within, and while that error is the end
-- of the script's steps, no step is counted: a handler without an end could not be stopped.
function world.xpcall(called, handler)
  local function answered(ok, problem, ...)
    if ok then return ok, problem, ... end
    return false, select(2, pcall(handler, problem))
  end
  return answered(pcall(called))
end

function world.rawset(target, name, value)
  if views[target] then error("Attempt to modify a readonly table", 2) end
  return rawset(target, name, value)
end

function world.collectgarbage(what)
  return what == "count" and collectgarbage("count") or 0
end

setmetatable(world, {__index = refuse_read})
local env = view(world)
rawset(world, "_G", env)

-- Source, and no bytecode: that could do anything.
local function read(source, name)
  if source:byte(1) == 27 then return nil, "bytecode is not read" end
  if #source > host.source_size_bytes_max then return nil, host.source_too_large end
  if guards.is_tangled(source) then return nil, host.too_tangled end
  local chunk, why = loadstring(source, name)
  return chunk and setfenv(chunk, env), why
end

local function read_late(...)
  look_at_time()
  return ...
end

function world.loadstring(source, name)
  return read_late(read(tostring(source), name or source))
end

function world.load(pieces, name)
  if type(pieces) ~= "function" then error("bad argument #1 to 'load' (function expected)", 2) end
  local source = {}
  for piece in pieces do
    if piece == "" then break end
    source[#source + 1] = piece
  end
  return read_late(read(table.concat(source), name or "=(load)"))
end

-- Nothing of the script's may be called to tell.
local function text_of(problem)
  return type(problem) == "table" and "unknown error" or tostring(problem)
end

-- Where in the script an error came from stands beside what it is. This is called for errors that
-- nothing in the script catches, so that it is at its end: no further look is taken.
local function explain(problem)
  sethook()
  local what = type(problem) == "table" and rawget(problem, "err") or "ERR " .. text_of(problem)
  for level = 2, 20 do
    local place = getinfo(level, "Sl")
    if not place then break end
    if place.source == "@user_script" then
      return {err = what, line = place.currentline}
    end
  end
  return {err = what}
end

-- The functions of `table` write without asking: what they have put into a view goes with the script.
local function clear_views()
  for made in next, views do
    for name in next, made do rawset(made, name, nil) end
  end
end

-- In the order in which Redis looks for them.
local kinds = {"err", "ok", "double", "big_number", "verbatim_string", "map", "set"}
local elements_left, bytes_left = 0, 0

local plain

-- What Python copies; see check_size.
local function counted(value)
  if type(value) == "string" then
    bytes_left = bytes_left - #value
    if bytes_left < 0 then error({err = host.answer_too_large}, 0) end
  end
  return value
end

-- A table as it was given, without what it may do when it is looked at: [0] says what it is.
local function plain_table(value, depth)
  if depth > host.depth_max then error({err = "ERR reached lua stack limit"}, 0) end
  for _, kind in ipairs(kinds) do
    local content = rawget(value, kind)
    if type(content) == "table" and (kind == "map" or kind == "set") then
      local made = {[0] = kind}
      for name, each in next, content do
        made[#made + 1] = plain(name, depth)
        if kind == "map" then made[#made + 1] = plain(each, depth) end
      end
      return made
    elseif type(content) == "table" and kind == "verbatim_string" then
      local text = rawget(content, "string")
      if type(text) == "string" and type(rawget(content, "format")) == "string" then
        return {[0] = kind, counted(text)}
      end
    elseif type(content) == "string" and (kind == "err" or kind == "ok" or kind == "big_number")
        or type(content) == "number" and kind == "double" then
      return {[0] = kind, counted(content)}
    end
  end
  local made, place = {[0] = "array"}, 1
  while rawget(value, place) ~= nil do
    made[place] = plain(rawget(value, place), depth)
    place = place + 1
  end
  return made
end

plain = function(value, depth)
  elements_left = elements_left - 1
  if elements_left < 0 then error({err = host.too_many}, 0) end
  if type(value) == "table" then return plain_table(value, depth + 1) end
  local is_plain = type(value) == "string" or type(value) == "number" or type(value) == "boolean"
  return is_plain and counted(value)  -- false is the null of arrays
end

local function run(chunk, keys, argv, looks)
  rawset(world, "KEYS", keys)
  rawset(world, "ARGV", argv)
  math.randomseed(0)
  looks_left, elements_left, bytes_left = looks, host.elements_max, host.answered_size_bytes_max
  sethook(look, "", steps_per_look)
  local ok, result = xpcall(function()
    local answer = chunk()
    if answer ~= nil then return plain(answer, 0) end
  end, explain)
  sethook()
  clear_views()
  rawset(world, "KEYS", nil)
  rawset(world, "ARGV", nil)
  if not ok and type(result) ~= "table" then result = {err = "ERR " .. text_of(result)} end
  return ok, result, looks_left
end

return function(source) return read(source, "@user_script") end, run
