# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host of the lab, piped into its Python: prints what is there as {facet: {item: description}}.

Only reads. The first argument is JSON: {"facets": {facet: options}}.
"""

import contextlib
import grp
import hashlib
import json
import os
import pwd
import re
import stat
import subprocess
import sys
import time


def output(*argv):
    """Return what a command prints; nothing if the host does not have the command."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    except FileNotFoundError:
        return ""
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} ended {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace")


def owner(number, database, attribute):
    """Return a user's or group's name, or its number if it has none."""
    try:
        return getattr(database(number), attribute)
    except KeyError:
        return str(number)


def describe(path):
    """Return type, mode, owner, group and content of what is at a path."""
    found = os.lstat(path)
    head = "{:04o} {}:{}".format(stat.S_IMODE(found.st_mode), owner(found.st_uid, pwd.getpwuid, "pw_name"), owner(found.st_gid, grp.getgrgid, "gr_name"))
    if stat.S_ISLNK(found.st_mode):
        return f"link {head} -> {os.readlink(path)}"
    if stat.S_ISDIR(found.st_mode):
        return "directory " + head
    if stat.S_ISREG(found.st_mode):
        with open(path, "rb") as stream:
            return f"file {head} sha256:{hashlib.sha256(stream.read()).hexdigest()}"
    return f"special {head} {stat.S_IFMT(found.st_mode):o}"


def files(roots):
    """All that is below some directories, and whether these exist."""
    result = {}

    def add(path):
        with contextlib.suppress(FileNotFoundError):
            result[path] = describe(path)

    for root in roots:
        add(root)
        if os.path.islink(root):
            continue
        for directory, subdirectories, names in os.walk(root):
            for name in subdirectories + names:
                add(os.path.join(directory, name))
    return result


def unit_files(_options):
    """Which units there are, and whether they are enabled."""
    rows = (line.split() for line in output("systemctl", "list-unit-files", "--no-legend", "--no-pager", "--plain").splitlines())
    return {row[0]: row[1] for row in rows if len(row) > 1}


def units(kinds):
    """Which units are active or failed. An idle unit is not in memory for long: whether it is, says nothing."""
    result = {}
    for line in output("systemctl", "list-units", "--all", "--no-legend", "--no-pager", "--plain").splitlines():
        row = line.split(None, 4)
        if len(row) > 3 and row[0].rsplit(".", 1)[-1] in kinds and row[2] != "inactive":
            result[row[0]] = " ".join(row[1:4])
    return result


def nftables(_options):
    """Each chain, set and map, as nft prints it: without handles and without the values of counters."""
    result = {}
    table = item = None
    for line in output("nft", "-s", "list", "ruleset").splitlines():
        text = line.strip()
        if line.startswith("table "):
            table = text[: -len(" {")]
            result[table] = "table"
        elif line.startswith("\t") and not line.startswith("\t\t") and text.endswith("{"):
            item = "{} {}".format(table, text[: -len(" {")])
            result[item] = []
        elif line == "\t}":
            item = None
        elif item and text:
            # "counter packets 3 bytes 180" inside an expression that -s leaves alone.
            result[item].append(re.sub(r"(counter) packets \d+ bytes \d+", r"\1", text))
        elif text and text != "}" and table:
            result.setdefault(table + " (itself)", []).append(text)
    return result


def iptables(_options):
    """What iptables and ip6tables show, without counters. It reads the same kernel tables through its own eyes."""
    result = {}
    for command in ("iptables-save", "ip6tables-save"):
        table = ""
        for line in output(command).splitlines():
            if line.startswith("*"):
                table = f"{command} {line[1:]}"
                result[table] = []
            elif table and not line.startswith("#") and line != "COMMIT":
                result[table].append(re.sub(r"\[\d+:\d+\]", "[]", line))
    return result


def sockets(_options):
    """What listens, and whose process it is."""
    result = {}
    for line in output("ss", "-Hlntup").splitlines():
        row = line.split(None, 6)
        names = sorted(set(re.findall(r'"([^"]+)"', row[6]))) if len(row) > 6 else []
        key = f"{row[0]} {row[4]}"
        result[key] = " ".join(sorted(set(result.get(key, "").split()) | set(names)))
    return result


def processes(patterns):
    """Command lines that match one of the patterns, with how many there are."""
    result = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) in (os.getpid(), os.getppid()):
            continue
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                line = stream.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if any(re.search(pattern, line) for pattern in patterns):
            result[line] = result.get(line, 0) + 1
    return result


def network(_options):
    """Links, addresses and routes, without lifetimes."""
    result = {}
    for line in output("ip", "-o", "address", "show").splitlines():
        row = line.split()
        result[f"address {row[1]} {row[3]}"] = " ".join(word for word in row[4:] if word in ("global", "host", "link", "temporary", "deprecated"))
    for family in ("-4", "-6"):
        for line in output("ip", family, "route", "show", "table", "all").splitlines():
            result["route {} {}".format(family, re.sub(r" (expires|error|pref|proto|src) \S+", "", line).strip())] = "present"
        for line in output("ip", family, "rule", "show").splitlines():
            result[f"rule {family} {line}"] = "present"
    return result


def sysctl(names):
    """Kernel settings."""
    result = {}
    for name in names:
        try:
            with open("/proc/sys/" + name.replace(".", "/")) as stream:
                result[name] = stream.read().strip()
        except OSError:
            pass
    return result


def leases(path):
    """The mapping list as the router's daemon keeps it; a lease's end only as "ends", because it moves."""
    result = {}
    try:
        with open(path) as stream:
            for line in stream.read().splitlines():
                protocol, external, client, port, end, description = line.split(":", 5)
                result[f"{protocol.lower()} {external}"] = "{}:{} {} {}".format(client, port, "permanent" if end == "0" else "ends", description)
    except FileNotFoundError:
        pass
    return result


def dns(options):
    """The record sets of a zone at each of its authorities, without the SOA's serial."""
    result = {}
    for server in options["servers"]:
        argv = ["dig", "@" + server, "+time=3", "+tries=2", "+noall", "+answer", "+onesoa", options["zone"], "AXFR"]
        text = output(*argv)
        if "SOA" not in text:
            raise SystemExit("{} hands over no zone {}: {}".format(server, options["zone"], text.strip()))
        for line in text.splitlines():
            row = line.split(None, 4)
            if len(row) < 5 or line.startswith(";") or row[3] == "TSIG":
                continue
            data = re.sub(r"^(\S+ \S+) \d+ ", r"\1 SERIAL ", row[4]) if row[3] == "SOA" else row[4]
            result.setdefault(f"{server} {row[0].lower()} {row[3]}", []).append(f"{row[1]} {data}")
    return {key: sorted(rows) for key, rows in result.items()}


def jobs():
    """Return each service of the collection, whether it runs, and which of its runs that is."""
    return output("systemctl", "show", "--property=Id,ActiveState,InvocationID", "homeserver-*.service")


def settled(read):
    """Read while no job that a timer of the collection started runs: its process and its sockets pass, and are no state."""
    for _attempt in range(40):
        before = jobs()
        if "ActiveState=activating" not in before:
            result = read()
            if jobs() == before:
                return result
        time.sleep(0.25)
    raise SystemExit(f"a job of the collection ran all the time: {before}")


def main():
    """Entry point."""
    facets = {
        "files": files,
        "unit_files": unit_files,
        "units": units,
        "nftables": nftables,
        "iptables": iptables,
        "sockets": sockets,
        "processes": processes,
        "network": network,
        "sysctl": sysctl,
        "leases": leases,
        "dns": dns,
    }
    wanted = json.loads(sys.argv[1])
    print(json.dumps(settled(lambda: {facet: facets[facet](options) for facet, options in wanted.items()})))


if __name__ == "__main__":
    main()
