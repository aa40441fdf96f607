# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dynamic DNS: keep the name of this host pointing at its public address.

Private to this collection. C(_engine) decides, a driver speaks to the provider, C(_sources) find the address, C(_guard) refuses what must
not be published, C(_memory) is what survives between two runs.
"""
