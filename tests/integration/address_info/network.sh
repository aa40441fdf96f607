#!/bin/sh
# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# A host with everything that can be wrong with an address, in the network namespace that this runs in.
set -e
ip link set lo up
ip link add wan0 type veth peer name far0
ip link add docker0 type bridge
ip tuntap add tunnel0 mode tun
sysctl -qw net.ipv6.conf.wan0.use_tempaddr=2 net.ipv6.conf.wan0.accept_ra=0
# Without a search for duplicates, all but one address can be used at once, and nothing changes while the test looks.
sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.wan0.accept_dad=0
for interface in wan0 far0 docker0 tunnel0; do ip link set $interface up; done

ip addr add 20.30.41.10/24 dev wan0 valid_lft 600 preferred_lft 300
ip addr add 20.30.41.11/24 dev wan0
ip addr add 172.17.0.1/16 dev docker0
ip addr add 20.99.0.1/24 dev docker0
ip addr add 100.101.102.103/32 dev tunnel0
ip addr add 10.8.0.2 peer 10.8.0.1 dev tunnel0

ip addr add 2a00:db8:5::20/64 dev wan0 nodad
ip addr add 2a00:db8:5::30/64 dev wan0 nodad valid_lft 7200 preferred_lft 0
# The kernel adds a temporary address to this one, as it would after a router's announcement.
ip addr add 2a00:db8:5:0:5054:ff:fe12:3456/64 dev wan0 nodad valid_lft 7200 preferred_lft 3600 mngtmpaddr
ip addr add fd00:5::20/64 dev wan0 nodad
# The kernel looks at what it added a moment later; by then a search for duplicates must still be off, or this address is tentative as well.
for _ in $(seq 100); do
  if ip -6 addr show dev wan0 temporary | grep -q inet6 && [ -z "$(ip -6 addr show dev wan0 tentative)" ]; then break; fi
  sleep 0.05
done
# Stays tentative for a minute.
sysctl -qw net.ipv6.conf.wan0.accept_dad=1 net.ipv6.conf.wan0.dad_transmits=60
ip addr add 2a00:db8:5::40/64 dev wan0

ip route add default via 20.30.41.1 dev wan0 metric 100
ip route add default dev tunnel0 metric 500
ip route add default via 20.30.41.3 dev wan0 table 77
ip route add blackhole default metric 9000
ip -6 route add default via fe80::1 dev wan0 metric 1024 pref high
