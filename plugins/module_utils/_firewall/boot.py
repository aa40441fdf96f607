# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit that loads a table of ours at boot, before the network is there, and again whenever nftables.service flushed it."""

from __future__ import annotations

DIRECTORY = "/etc/homeserver"
UNIT_DIRECTORY = "/etc/systemd/system"

_UNIT = """\
# Made by the Ansible collection homeserver.hardening; it will overwrite changes.
[Unit]
Description={description}
DefaultDependencies=no
# No packet of the network is to meet a host without its rules.
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
# Where nftables.service is used, its start, stop and reload flush all tables: load ours again after each of them.
# None of this starts nftables.service.
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
ConditionPathExists={rules}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={nft} -f {rules}
ExecReload={nft} -f {rules}
CapabilityBoundingSet=CAP_NET_ADMIN
NoNewPrivileges=yes
ProtectSystem=full
ProtectHome=yes

[Install]
WantedBy=sysinit.target nftables.service
"""


def unit_links(unit: str) -> tuple[str, ...]:
    """Return the links that enable a unit: sysinit.target loads the rules at boot; nftables.service, whose start flushes everything, again after itself."""
    return tuple(f"{UNIT_DIRECTORY}/{target}.wants/{unit}" for target in ("sysinit.target", "nftables.service"))


def unit_text(description: str, nft: str, rules: str) -> str:
    """Return the unit.

    Args:
        description: what the rules are, and in which table.
        nft: the path of nft.
        rules: the file that nft loads.
    """
    return _UNIT.format(description=description, nft=nft, rules=rules)


def rules_header(unit: str) -> str:
    """Return the first line of the file that a unit loads."""
    return f"# Made by the Ansible collection homeserver.hardening; it will overwrite changes. Loaded at boot by {unit}.\n"
