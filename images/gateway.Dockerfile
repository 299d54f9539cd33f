# The gateway: HAProxy from Debian's packages. It shares a party's network namespace, and its configuration is in the
# party's folder (gateway.cfg). `freediv images build` builds it.
ARG BASE=debian:bookworm-slim

FROM ${BASE}
RUN command -v haproxy >/dev/null \
 || { apt-get update && apt-get install --yes --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/*; }
COPY images/gateway.sh /usr/local/bin/gateway
COPY orchestrator/freediv/deploy/containers/gateway.lua /usr/local/share/freediv/gateway.lua
WORKDIR /deployment
USER 10001:10001
ENTRYPOINT ["gateway"]
