#!/bin/sh
# Run HAProxy for the party whose folder is mounted at /deployment. It wants certificate and key in one file; that file
# lives in memory only.
set -eu
umask 077
cd /tmp
cat /deployment/certificate.pem /deployment/key.pem > party.pem
exec haproxy -db -f /deployment/gateway.cfg
