# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Beside Docker, started for real, and beside someone's own nftables table: neither is touched, and neither is ignored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lablib
import manifest
import pytest
from conftest import PUBLISH, UNPUBLISH, ok, refused

APP = {"name": "app", "protocol": "tcp", "port": 8081}

START = """
systemctl unmask containerd.service docker.socket docker.service 2>/dev/null
mkdir -p /etc/docker /tmp/image/bin
echo '{"storage-driver": "vfs"}' >/etc/docker/daemon.json
systemctl start docker
cp /bin/busybox /tmp/image/bin/
tar -C /tmp/image -c . | docker import - box:1
docker run -d --name app -p 8081:80 box:1 /bin/busybox sh -c 'echo from the container >/index.html; exec /bin/busybox httpd -f -p 80 -h /'
nft -f - <<'END'
table inet mine {
  set friends { type ipv4_addr; elements = { 192.0.2.7 }; }
  chain input { type filter hook input priority 10; policy accept; tcp dport 9999 counter drop comment "my own"; }
}
END
"""


@pytest.fixture(scope="module")
def docker(lab: lablib.Lab, home: lablib.Home) -> Iterator[manifest.Manifest]:
    """Docker with a container that publishes a port; yields what all looks like then."""
    lab.sh("server", START, timeout=120)
    state = manifest.collect(lab)
    assert any("DOCKER" in item for item in state["server"]["nftables"]), state["server"]["nftables"]
    assert "table inet mine" in state["server"]["nftables"]
    yield state
    lab.sh("server", "docker rm -f app; systemctl stop docker.socket docker.service containerd.service; nft delete table inet mine", check=False)


def foreign(state: manifest.Manifest) -> dict[str, Any]:
    """All rules that are not ours, as both eyes see them."""
    return {
        **{item: rules for item, rules in state["server"]["nftables"].items() if not item.startswith("table inet homeserver")},
        **state["server"]["iptables"],
    }


@pytest.mark.steps
class TestBesideDocker:
    """Publish, publish again, restart Docker, unpublish."""

    def test_check_mode(self, lab: lablib.Lab, docker: manifest.Manifest) -> None:
        """Nothing changes."""
        ok(lab.playbook(PUBLISH, "--check", "--diff"))
        assert manifest.compare(docker, manifest.collect(lab)) == []

    def test_publish(self, lab: lablib.Lab, home: lablib.Home, docker: manifest.Manifest) -> None:
        """The services of the host are reachable; Docker's rules and the table of someone's own are as they were."""
        ok(lab.playbook(PUBLISH))
        assert set(home.from_outside().values()) == {"open"}
        assert foreign(manifest.collect(lab)) == foreign(docker)

    def test_container(self, lab: lablib.Lab, home: lablib.Home, docker: manifest.Manifest) -> None:
        """A container's port can be published like any other."""
        ok(lab.playbook(PUBLISH, extra={"publish_services": [*lablib.SERVICES, APP]}))
        rows = home.ask([{"protocol": "tcp", "host": lab.vars["lab_wan_address"], "port": 8081}])
        assert "from the container" in rows[0]["answer"], rows
        assert foreign(manifest.collect(lab)) == foreign(docker)
        assert set(ok(lab.playbook(PUBLISH, extra={"publish_services": [*lablib.SERVICES, APP]})).changed.values()) == {0}

    def test_limit_that_would_not_hold(self, lab: lablib.Lab, docker: manifest.Manifest) -> None:
        """Our table does not see what Docker forwards: a limit on it is refused, and what is published stays."""
        before = manifest.collect(lab)
        services = [*lablib.SERVICES, {**APP, "allow_from": ["198.51.100.0/24"]}]
        refused(lab.playbook(PUBLISH, extra={"publish_services": services}), "Docker", "8081")
        differences = [text for text in manifest.compare(before, manifest.collect(lab)) if "/var/lib/homeserver" not in text]
        assert not differences, "\n".join(differences)

    def test_docker_restarts(self, lab: lablib.Lab, home: lablib.Home) -> None:
        """Docker builds its tables anew; ours are its neighbour, not its victim."""
        lab.sh("server", "systemctl restart docker; docker start app", timeout=60)
        assert set(home.from_outside().values()) == {"open"}

    def test_unpublish(self, lab: lablib.Lab, home: lablib.Home, docker: manifest.Manifest) -> None:
        """All is as it was, and the container still answers at home."""
        ok(lab.playbook(UNPUBLISH))
        rows = home.ask([{"protocol": "tcp", "host": lab.vars["lab_server_address"], "port": 8081}], "neighbour")
        assert "from the container" in rows[0]["answer"], rows
        assert home.open_names([*lablib.SERVICES, APP]) == []
        assert manifest.compare(docker, manifest.collect(lab)) == []
