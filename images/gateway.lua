-- Shows a renewed certificate to whoever connects from then on; connections that are open stay as they are.
-- gateway.cfg says where the party's folder is, and by which name HAProxy knows the certificate.
local folder, known_as = os.getenv("FREEDIV_FOLDER"), os.getenv("FREEDIV_CERTIFICATE")
local LOOK_S = 5

local function content(name)
  local file = io.open(folder .. "/" .. name, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

local function certificate_and_key()
  local certificate, key = content("certificate.pem"), content("key.pem")
  return certificate and key and certificate .. key
end

local shown = certificate_and_key()

core.register_task(function()
  while true do
    core.sleep(LOOK_S)
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
end)
