# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Classification of 100,000 addresses against netaddr and Python's ipaddress."""

from __future__ import annotations

import ipaddress
import platform
import random
import socket
import sys
import tracemalloc

from common import Row, best, show, verdict
from module_utils._address import _classify, _iana

COUNT = 100_000


def addresses() -> list[str]:
    """Give texts of both families in turns, half of them inside the special blocks, the same in every run."""
    source = random.Random(2)
    result = []
    for number in range(COUNT):
        bits, blocks, family = ((32, _iana.IPV4_BLOCKS, socket.AF_INET), (128, _iana.IPV6_BLOCKS, socket.AF_INET6))[number % 2]
        value = source.getrandbits(bits)
        if number % 4 >= 2:
            network = ipaddress.ip_network(source.choice(blocks)[0])
            value = int(network.network_address) + value % network.num_addresses
        elif bits == 128:
            value = value >> 3 | 1 << 125  # 2000::/3
        result.append(socket.inet_ntop(family, value.to_bytes(bits // 8, "big")))
    return result


def import_cost() -> float:
    """Give the memory in KiB that the table and its code take."""
    names = [name for name in sys.modules if name.startswith("module_utils._address")]
    kept = {name: sys.modules.pop(name) for name in names}
    tracemalloc.start()
    __import__("module_utils._address._classify")
    size = tracemalloc.get_traced_memory()[0] / 1024
    tracemalloc.stop()
    sys.modules.update(kept)
    return size


def main() -> int:
    try:
        import netaddr
    except ImportError as error:
        raise ImportError("netaddr is missing, to which we compare; install netaddr 1.3.0") from error
    texts = addresses()
    seven = ("is_global", "is_ipv4_private_use", "is_ipv6_unique_local", "is_loopback", "is_link_local", "is_multicast", "is_reserved")

    def netaddr_global() -> object:
        return [netaddr.IPAddress(text).is_global() for text in texts]

    def netaddr_seven() -> object:
        result = []
        for text in texts:
            address = netaddr.IPAddress(text)
            result.append([getattr(address, name)() for name in seven])
        return result

    def ipaddress_global() -> object:
        return [ipaddress.ip_address(text).is_global for text in texts]

    def class_only() -> object:
        return [_classify.address_class(text) for text in texts]

    def full_record() -> object:
        return [_classify.classify(text) for text in texts]

    def as_returned() -> object:
        return [_classify.describe(text) for text in texts]

    ours_class, ours_record, ours_data, theirs, theirs_seven, standard = best(
        class_only, full_record, as_returned, netaddr_global, netaddr_seven, ipaddress_global
    )
    name = f"netaddr {netaddr.__version__}"
    python = f"ipaddress {platform.python_version()}"
    rows = [
        Row(
            "class only", "address_class", ours_class, name, theirs, at_least=8,
            note="ours: which of 38 classes. theirs: IPAddress(text).is_global(), one yes or no; netaddr has no classes, this comes closest",
        ),
        Row(
            "full record", "classify", ours_record, name, theirs, at_least=3,
            note="ours: class, registry row, RFC, reachability, embedded IPv4. theirs: the same yes or no as above",
        ),
        Row("full record", "classify", ours_record, name, theirs_seven, note=f"theirs: seven questions ({', '.join(seven)})"),
        Row("rows as the module returns them", "describe", ours_data, name, theirs),
        Row("class only", "address_class", ours_class, python, standard, note="theirs: ip_address(text).is_global"),
        Row("memory of the table and its code", "import", import_cost(), at_most=512, unit="KiB"),
    ]  # fmt: skip
    show(f"Classification of {COUNT:,} addresses, IPv4 and IPv6 in turns, half in special blocks", rows)
    return verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
