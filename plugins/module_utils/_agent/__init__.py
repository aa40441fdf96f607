# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent: what runs on the host between two playbook runs, without Ansible.

Private to this collection. C(_cli) is its entry point; C(_install) puts it there.
"""
