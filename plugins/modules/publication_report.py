# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: publication_report
short_description: Print the result of a publication, and write it as JSON
version_added: 0.1.0
description:
  - Prints a block of text for someone in a hurry, in English or Japanese, the answer first.
  - Writes the same facts as C(report.json) into a directory on the controller. It holds nothing secret.
  - Works on the controller only and changes nothing on any host.
author:
  - homeserver.hardening contributors (@homeserver-hardening)
extends_documentation_fragment:
  - homeserver.hardening.attributes.action
options:
  kind:
    description:
      - What was done.
    type: str
    choices: [publish, unpublish, verify, status, diagnose]
    required: true
  plan:
    description:
      - RV(homeserver.hardening.publication_plan#module:plan).
    type: dict
  proof:
    description:
      - What the filter P(homeserver.hardening.publication_proof#filter) returned.
    type: dict
  closed:
    description:
      - What the filter P(homeserver.hardening.publication_closed#filter) returned.
    type: list
    elements: dict
    default: []
  name:
    description:
      - The DNS name, C(name), C(state), C(addresses), C(authorities), C(stale_until).
    type: dict
  changes:
    description:
      - How many C(rules), C(mappings) and C(records) the publication consists of.
    type: dict
    default: {}
  journal:
    description:
      - What M(homeserver.hardening.publication_journal) returned.
    type: dict
  outcome:
    description:
      - How it ended.
    type: str
    choices: [done, check_mode, impossible, failed, failed_restored, failed_both]
    default: done
  reason:
    description:
      - Why it failed.
    type: str
    default: ""
  untested:
    description:
      - Why nothing was tested from outside.
    type: str
    default: ""
  todo:
    description:
      - What the user should do, each with C(id) and the values of its text.
    type: list
    elements: dict
    default: []
  vantages:
    description:
      - RV(homeserver.hardening.publication_plan#module:vantages).
    type: list
    elements: dict
    default: []
  mappings:
    description:
      - What the router forwards, RV(homeserver.hardening.port_mapping_info#module:mappings).
    type: list
    elements: dict
    default: []
  inbound:
    description:
      - What came in when it was tried, RV(homeserver.hardening.inbound_trial#module:inbound).
    type: list
    elements: dict
    default: []
  language:
    description:
      - V(en) or V(ja). Empty takes the controller's locale.
    type: str
    default: ""
  dest:
    description:
      - Directory on the controller. The report is written to C(<dest>/<host>/report.json). Empty writes none; check mode writes none.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Say what is published
  homeserver.hardening.publication_report:
    kind: status
    plan: "{{ journal.committed.publication }}"
    journal: "{{ journal }}"
    dest: ~/homeserver-reports
"""

RETURN = r"""
report:
  description: The report as it is written.
  type: dict
  returned: always
block:
  description: The lines that were printed.
  type: list
  elements: str
  returned: always
path:
  description: Where the report was written on the controller, V(none) if it was not.
  type: str
  returned: always
"""
