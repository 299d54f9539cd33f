#!/bin/sh
# Run HAProxy for the party whose folder is mounted at /deployment. It wants certificate and key in one file; that file
# lives in memory only.
set -eu
umask 077
cd /tmp
cat /deployment/certificate.pem /deployment/key.pem > party.pem
# HAProxy ends over an address that it cannot bind.
[ -e /proc/net/if_inet6 ] || export FREEDIV_WITHOUT_IPV6=1
exec haproxy -db -f /deployment/gateway.cfg
