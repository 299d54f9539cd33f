-- What a party's folder says while its gateway runs: the certificate to show, and whom it answers no more (`revoked`).
-- gateway.cfg says where the folder is, and by which name HAProxy knows the certificate.
local folder, known_as = os.getenv("FREEDIV_FOLDER"), os.getenv("FREEDIV_CERTIFICATE")
local LOOK_S = 1

local NOT_THERE = 2  -- ENOENT

local function content(name)
  local file, _, reason = io.open(folder .. "/" .. name, "rb")
  if not file then return nil, reason end
  local text = file:read("a")
  file:close()
  return text
end

-- A renewed certificate is shown to whoever connects from then on; connections that are open stay as they are.

local function certificate_and_key()
  local certificate, key = content("certificate.pem"), content("key.pem")
  return certificate and key and certificate .. key
end

local shown = certificate_and_key()

local function renew()
  local now = certificate_and_key()
  if now and now ~= shown then
    shown = now  -- what cannot be used is named once
    local good, problem = pcall(CertCache.set, { filename = known_as, crt = now })
    if good then
      core.log(core.notice, "the certificate was renewed")
    else
      core.log(core.warning, "the certificate from before stays in use: " .. tostring(problem))
    end
  end
end

-- A list has a role, or the SHA-256 fingerprint of a certificate, a line. One that cannot be read leaves the one from
-- before; where there is none from before, the gateway does not start.

local function read_revoked()
  local text, reason = content("revoked")
  if not text and reason ~= NOT_THERE then return nil end
  local found = {}
  for line in (text or ""):gmatch("[^\r\n]+") do
    local entry = line:gsub("#.*", ""):gsub("%s", "")
    found[entry:find("/") and entry or entry:gsub(":", ""):upper()] = true
  end
  return found
end

local revoked = read_revoked() or error(folder .. "/revoked cannot be read")
local peers = {}  -- of each door and exit, the role of the peer behind it
local answering = {}  -- of each exit, the fingerprints of the certificates that answered there

local function fingerprint(txn, certificate)
  return txn.c:hex(txn.c:sha2(certificate, 256))
end

-- Whether a peer is answered: its role and, at a door, the certificate that it shows.
core.register_fetches("answered", function(txn, role)
  peers[txn.f:fe_name()] = role
  local certificate = txn.f:ssl_c_der()
  return not revoked[role] and not (certificate and revoked[fingerprint(txn, certificate)])
end)

-- Whether the certificate that a peer's gateway shows is none that is revoked. By then the first bytes are on their way.
core.register_fetches("answering", function(txn)
  local mark = fingerprint(txn, txn.f:ssl_s_der())
  local way_out = txn.f:fe_name()
  answering[way_out] = answering[way_out] or {}
  answering[way_out][mark] = true
  return not revoked[mark]
end)

-- Ends what whoever is revoked has open; what else is open at that door is of the same peer, and is opened anew.

local function is_open_to_revoked(name, proxy)
  if revoked[peers[name]] then return true end
  for mark in pairs(revoked) do
    local found = proxy.stktable and proxy.stktable:lookup(mark)
    if found and found.conn_cur > 0 then return true end
    if answering[name] and answering[name][mark] then
      answering[name][mark] = nil
      return true
    end
  end
  return false
end

local function turn_out()
  for name in pairs(peers) do
    local proxy = core.proxies[name]
    if is_open_to_revoked(name, proxy) then
      for _, server in pairs(proxy.servers) do server:shut_sess() end
    end
  end
end

core.register_task(function()
  while true do
    core.sleep(LOOK_S)
    revoked = read_revoked() or revoked
    local good, problem = pcall(turn_out)
    if not good then core.log(core.warning, "whoever is revoked stays connected: " .. tostring(problem)) end
    renew()
  end
end)
