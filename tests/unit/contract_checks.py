# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of the repository promise each other, as functions that read a tree and return complaints.

Each takes the root of a tree, so that the tests can show them a faulty one.
"""

from __future__ import annotations

import ast
import ipaddress
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

NAME = re.compile(r"^(?!.*__)[a-z][0-9a-z_]*$")
COLLECTION = "homeserver.hardening"
# Roles that put others together. The rest only do their own job; all may use the base.
ORCHESTRATORS = {"publish", "diagnose"}
BASE = "homeserver"
# The inputs of the base are for the whole collection, so every role's defaults and vars may refer to them.
# Other inputs that another role's defaults may refer to, with the reason:
SHARED_DEFAULTS = {
    ("diagnose", "publish_services"): "what shall be published is what a diagnosis makes a plan for",
}
# Of these packages of the core it is written down whom they may use. `_*.py` directly in module_utils is for everyone.
LINE_MAY_USE = {"_address", "_probe", "_portmap"}
LINE_USERS = {"plugins/modules/line_info.py", "plugins/plugin_utils/_publication.py"}
CONTROLLER = {"plugin_utils", "action", "filter", "test"}
SPOKEN_ONCE = {"docs/contributing.md"}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def roles(root: Path) -> list[Path]:
    return sorted(path for path in (root / "roles").glob("*") if path.is_dir())


def sources(root: Path, folder: str) -> list[Path]:
    return sorted(path for path in (root / folder).rglob("*.py") if "__pycache__" not in path.parts)


def tracked(root: Path) -> list[Path]:
    """Files that belong to the project: what git knows or would add; in a tree without git, everything."""
    found = subprocess.run(["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=False, capture_output=True)
    names = [root / name for name in found.stdout.decode().split("\0") if name]
    return sorted(path for path in (names if found.returncode == 0 else root.rglob("*")) if path.is_file() and not path.is_symlink())


# --- role inputs -------------------------------------------------------------------------------------------------------------------------

TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "raw": (object,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
}


def templated(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value


def fits(value: Any, kind: str) -> bool:
    if value is None or templated(value) or kind == "raw":
        return True
    if isinstance(value, bool) and kind != "bool":
        return False
    return isinstance(value, TYPES.get(kind, ()))


def same(left: Any, right: Any) -> bool:
    """Equality that tells true from 1 and 1 from 1.0, at every depth."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right))
    return bool(left == right)


def check_role_inputs(root: Path) -> list[str]:
    bad = []
    for role in roles(root):
        name = role.name
        files = {"defaults": role / "defaults" / "main.yml", "specs": role / "meta" / "argument_specs.yml"}
        missing = [str(path.relative_to(root)) for path in files.values() if not path.exists()]
        if missing:
            bad.append(f"{name}: {' and '.join(missing)} missing")
            continue
        defaults = load(files["defaults"]) or {}
        entries = (load(files["specs"]) or {}).get("argument_specs") or {}
        if "main" not in entries:
            bad.append(f"{name}: no entry point main in meta/argument_specs.yml")
        known: dict[str, Any] = {}
        for entry, spec in entries.items():
            if not spec.get("short_description"):
                bad.append(f"{name}: entry point {entry} has no short_description")
            if not spec.get("version_added"):
                # Without it the changelog leaves the role out.
                bad.append(f"{name}: entry point {entry} has no version_added")
            for option, how in (spec.get("options") or {}).items():
                known[option] = how
                where = f"{name}: {entry}.{option}"
                bad += option_faults(where, how)
                if not option.startswith(f"{name}_"):
                    bad.append(f"{where} does not start with {name}_")
                if how.get("required"):
                    if option in defaults:
                        bad.append(f"{where} is required, but has a default")
                elif option not in defaults:
                    bad.append(f"{where} is not in defaults/main.yml")
                elif "default" not in how:
                    if defaults[option] is not None:
                        bad.append(f"{where} has the default {defaults[option]!r} in defaults/main.yml and none in its specification")
                elif not same(defaults[option], how["default"]):
                    bad.append(f"{where}: default {how['default']!r} in its specification, {defaults[option]!r} in defaults/main.yml")
                if option in defaults and not fits(defaults[option], how.get("type", "str")):
                    bad.append(f"{where}: the default {defaults[option]!r} is no {how.get('type')}")
        bad += [f"{name}: {option} of defaults/main.yml is in no entry point of meta/argument_specs.yml" for option in defaults if option not in known]
        if name not in {"diagnose"}:
            state = known.get(f"{name}_state")
            if state is None or set(state.get("choices") or ()) != {"present", "absent"}:
                bad.append(f"{name}: {name}_state with the choices present and absent is missing")
    return bad


def option_faults(where: str, how: dict[str, Any]) -> list[str]:
    bad = []
    if how.get("type") not in TYPES:
        bad.append(f"{where} has no type")
    if not how.get("description"):
        bad.append(f"{where} has no description")
    if how.get("type") == "list" and "elements" not in how:
        bad.append(f"{where} is a list without elements")
    choices = how.get("choices")
    if choices and how.get("default") is not None and not templated(how["default"]) and how["type"] != "list" and how["default"] not in choices:
        bad.append(f"{where}: the default {how['default']!r} is none of the choices")
    for inner, more in (how.get("options") or {}).items():
        bad += option_faults(f"{where}.{inner}", more)
    return bad


def check_role_readmes(root: Path) -> list[str]:
    bad = []
    for role in roles(root):
        defaults = role / "defaults" / "main.yml"
        specs = role / "meta" / "argument_specs.yml"
        inputs = set(load(defaults) or {}) if defaults.exists() else set()
        for entry in ((load(specs) or {}).get("argument_specs") or {}).values() if specs.exists() else ():
            inputs |= set(entry.get("options") or {})
        for readme in (role / "README.md", role / "README.ja.md"):
            if not readme.exists():
                bad.append(f"{readme.relative_to(root)} is missing")
                continue
            text = readme.read_text(encoding="utf-8")
            bad += [f"{readme.relative_to(root)} does not name `{name}`" for name in sorted(inputs) if f"`{name}`" not in text]
    return bad


# --- arrows ------------------------------------------------------------------------------------------------------------------------------


def imports(path: Path) -> Iterator[tuple[int, str, int, bool]]:
    """Each import as (level, dotted name with what is taken from it, line, guarded by try)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {id(node) for outer in ast.walk(tree) if isinstance(outer, ast.Try) for inner in outer.body for node in ast.walk(inner)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, node.lineno, id(node) in guarded
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.level, ".".join(part for part in (node.module, alias.name) if part), node.lineno, id(node) in guarded


def target(path: Path, root: Path, level: int, name: str) -> str:
    """The path below the root that a relative import names, as far as the package: plugins/module_utils/_dns/_wire.py → plugins/module_utils/_dns/_wire…"""
    folder = path.relative_to(root).parent
    for _step in range(level - 1):
        folder = folder.parent
    return "/".join([*folder.parts, *name.split(".")])


def package(relative: str) -> str:
    """The package of the core: plugins/module_utils/_dns/_wire → _dns; a module that lies directly there → "" ."""
    parts = relative.split("/")
    return parts[2] if len(parts) > 3 else ""


def check_arrows(root: Path) -> list[str]:
    bad = []
    uses: dict[str, set[str]] = {}
    packages = {path.name for path in (root / "plugins" / "module_utils").glob("*") if path.is_dir() and path.name != "__pycache__"}
    may = {
        "module_utils": ("plugins/module_utils/",),
        "modules": ("plugins/module_utils/",),
        "plugin_utils": ("plugins/module_utils/", "plugins/plugin_utils/"),
        "action": ("plugins/module_utils/", "plugins/plugin_utils/"),
        "filter": ("plugins/module_utils/", "plugins/plugin_utils/"),
        "test": ("plugins/module_utils/", "plugins/plugin_utils/"),
        "doc_fragments": (),
    }
    ansible = {
        "module_utils": (),
        "modules": ("ansible.module_utils.",),
        "doc_fragments": (),
    }
    for path in sources(root, "plugins"):
        kind = path.relative_to(root).parts[1]
        if kind not in may:
            bad.append(f"{path.relative_to(root)}: plugins of the kind {kind} are not foreseen")
            continue
        for level, name, line, guarded in imports(path):
            where = f"{path.relative_to(root)}:{line}: {'.' * level}{name}"
            top = name.split(".")[0]
            to = target(path, root, level, name)
            if level == 0 and name.startswith(f"ansible_collections.{COLLECTION}.") and kind != "module_utils":
                to = "/".join(name.split(".")[3:])
            elif level == 0:
                if top in sys.stdlib_module_names:
                    continue
                if top == "yaml" and kind in CONTROLLER:
                    # ansible-core itself needs it.
                    continue
                if top == "ansible":
                    if not f"{name}.".startswith(ansible.get(kind, ("ansible.",))) or not ansible.get(kind, True):
                        bad.append(f"{where} is not for {kind}")
                elif top == "ansible_collections":
                    bad.append(f"{where}: imports inside the core are relative")
                elif kind != "plugin_utils" or not guarded:
                    bad.append(f"{where}: only plugin_utils uses other packages, inside try")
                continue
            if not f"{to}/".startswith(may[kind]):
                bad.append(f"{where}: {kind} must not use {'/'.join(to.split('/')[:3])}")
                continue
            parts = to.split("/")
            used = parts[2] if len(parts) > 2 and parts[1] == "module_utils" and parts[2] in packages else ""
            own = package(str(path.relative_to(root).with_suffix(""))) if kind == "module_utils" else ""
            if used == "_line" and own != "_line" and str(path.relative_to(root)) not in LINE_USERS:
                bad.append(f"{where}: _line is for its module and the plan alone")
            if used == "_agent" and kind == "module_utils" and own != "_agent":
                bad.append(f"{where}: nothing in the core uses the agent")
            if own == "_line" and used and used != "_line" and used not in LINE_MAY_USE:
                bad.append(f"{where}: _line uses {', '.join(sorted(LINE_MAY_USE))} alone")
            if kind == "module_utils" and used and own and used != own:
                uses.setdefault(own, set()).add(used)
            if kind == "module_utils" and used and not own:
                bad.append(f"{where}: what lies directly in module_utils is for every package, so it uses none")
    bad += [f"packages of the core use each other in a circle: {' → '.join(circle)}" for circle in circles(uses)]
    return bad


def circles(uses: dict[str, set[str]]) -> list[list[str]]:
    found = []

    def walk(trail: list[str]) -> None:
        for following in sorted(uses.get(trail[-1], ())):
            if following == trail[0]:
                found.append([*trail, following])
            elif following not in trail and following > trail[0]:
                walk([*trail, following])

    for start in sorted(uses):
        walk([start])
    return found


# --- roles among themselves --------------------------------------------------------------------------------------------------------------


def tasks_of(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, list):
        for item in node:
            yield from tasks_of(item)
    elif isinstance(node, dict):
        yield node
        for key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers"):
            yield from tasks_of(node.get(key))


def included_role(task: dict[str, Any]) -> str | None:
    for action in ("include_role", "import_role"):
        for key in (action, f"ansible.builtin.{action}"):
            if isinstance(task.get(key), dict):
                return str(task[key].get("name", "")).rsplit(".", 1)[-1]
    return None


def strings(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from strings(value)
    elif isinstance(node, list):
        for item in node:
            yield from strings(item)
    elif isinstance(node, str):
        yield node


def without_handed_over(node: Any, other: set[str]) -> Any:
    """The same tasks without the names that an include_role hands over to the role that it includes."""
    if isinstance(node, list):
        return [without_handed_over(item, other) for item in node]
    if isinstance(node, dict):
        role = included_role(node)
        copy = {key: without_handed_over(value, other) for key, value in node.items()}
        if role and isinstance(node.get("vars"), dict):
            copy["vars"] = [value if name.startswith(f"{role}_") else {name: value} for name, value in copy["vars"].items()]
        return copy
    return node


def check_role_variables(root: Path) -> list[str]:
    bad = []
    inputs = {role.name: set(load(role / "defaults" / "main.yml") or {}) if (role / "defaults" / "main.yml").exists() else set() for role in roles(root)}
    for role in roles(root):
        name = role.name
        foreign = {variable: other for other, names in inputs.items() if other != name for variable in names}
        internal = [re.compile(rf"(?<![\w.])__{other}_\w+") for other in inputs if other != name and not name.startswith(f"{other}_")]
        for path in sorted(role.rglob("*")):
            if not path.is_file() or path.suffix not in {".yml", ".yaml", ".j2"} or "__pycache__" in path.parts:
                continue
            where = str(path.relative_to(root))
            part = path.relative_to(role).parts[0]
            if part == "meta" or part == "molecule":
                texts = list(strings(load(path))) if path.name == "main.yml" else []
            elif path.suffix == ".j2":
                texts = [path.read_text(encoding="utf-8")]
            else:
                content = load(path)
                for task in tasks_of(content):
                    role_used = included_role(task)
                    if role_used and role_used not in {name, BASE} and name not in ORCHESTRATORS:
                        bad.append(f"{where}: only {' and '.join(sorted(ORCHESTRATORS))} put roles together; this includes {role_used}")
                texts = list(strings(without_handed_over(content, set(foreign))))
            for text in texts:
                for word in re.findall(r"(?<![\w.])_*[a-z]\w*", text):
                    other = foreign.get(word)
                    if other is None or (part in ("defaults", "vars") and (other == BASE or (name, word) in SHARED_DEFAULTS)):
                        continue
                    bad.append(f"{where}: {word} is a variable of the role {other}")
                bad += [f"{where}: {found} is internal to another role" for pattern in internal for found in pattern.findall(text)]
    return sorted(set(bad))


# --- names, headers, documents -----------------------------------------------------------------------------------------------------------


def contents(root: Path) -> dict[str, list[str]]:
    """What the collection offers, by kind."""
    found: dict[str, list[str]] = {"role": [role.name for role in roles(root)]}
    found["playbook"] = sorted(path.stem for path in (root / "playbooks").glob("*.yml"))
    found["module"] = sorted(path.stem for path in (root / "plugins" / "modules").glob("*.py") if path.stem != "__init__")
    for kind in ("filter", "test"):
        names: set[str] = set()
        for path in (root / "plugins" / kind).glob("*"):
            if path.suffix in {".yml", ".yaml"}:
                names |= {load(path)["DOCUMENTATION"]["name"]}
            elif path.suffix == ".py" and path.stem != "__init__":
                names |= documented_name(path)
        found[kind] = sorted(names)
    return found


def documented_name(path: Path) -> set[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
            return {yaml.safe_load(ast.literal_eval(node.value))["name"]}
    return set()


def check_names(root: Path) -> list[str]:
    bad = [f"{kind} {name}: Galaxy takes names like [a-z][0-9a-z_]*, without two underscores in a row" for kind, names in contents(root).items()
           for name in names if not NAME.match(name)]
    for path in sources(root, "plugins/module_utils"):
        if path.stem != "__init__" and not re.match(r"^(?!.*__)[a-z_][0-9a-z_]*$", path.stem):
            bad.append(f"{path.relative_to(root)}: Galaxy's importer refuses the name")
    galaxy = load(root / "galaxy.yml")
    bad += [f"galaxy.yml: tag {tag}" for tag in galaxy["tags"] if not re.match(r"^[a-z][0-9a-z]*$", tag)]
    for path in [*sorted((root / "playbooks").glob("*.yml")), *sorted((root / "roles").glob("*/tasks/*.yml"))]:
        for task in tasks_of(load(path)):
            tags = task.get("tags") or []
            bad += [f"{path.relative_to(root)}: tag {tag}" for tag in ([tags] if isinstance(tags, str) else tags) if not NAME.match(tag)]
    return bad


COMMENTED = {".py", ".yml", ".yaml", ".sh", ".j2", ".md", ".toml", ".cfg", ".txt", ".in", ".nft", ".service", ".timer", ".conf", ""}
WITHOUT_HEADER = ("LICENSES/", "CHANGELOG.md", "changelogs/changelog.yaml")


def check_headers(root: Path) -> list[str]:
    bad = []
    for path in tracked(root):
        name = str(path.relative_to(root))
        if path.suffix not in COMMENTED or name.startswith(WITHOUT_HEADER) or re.search(r"/(fixtures|testdata|data)/", name) or path.stat().st_size == 0:
            continue
        head = path.read_text(encoding="utf-8", errors="replace")[:1200]
        # REUSE-IgnoreStart
        if "SPDX-License-Identifier: GPL-3.0-or-later" not in head or "Copyright: (c)" not in head:
            # REUSE-IgnoreEnd
            bad.append(f"{name} does not start with the licence header")
    return bad


def check_readme(root: Path) -> list[str]:
    bad = []
    for readme in ("README.md", "README.ja.md"):
        if not (root / readme).exists():
            bad.append(f"{readme} is missing")
            continue
        text = (root / readme).read_text(encoding="utf-8")
        bad += [f"{readme} does not name the {kind} `{name}`" for kind, names in contents(root).items() for name in names if f"`{name}`" not in text]
    return bad


def check_languages(root: Path) -> list[str]:
    bad = []
    for path in sorted((root / "docs").rglob("*.md")):
        name = str(path.relative_to(root))
        if name.endswith(".ja.md"):
            if not path.with_name(path.name.replace(".ja.md", ".md")).exists():
                bad.append(f"{name} has no English counterpart")
        elif name not in SPOKEN_ONCE and not path.with_name(f"{path.stem}.ja.md").exists():
            bad.append(f"{name} has no Japanese counterpart")
    return bad


def check_release(root: Path) -> list[str]:
    version = load(root / "galaxy.yml")["version"]
    releases = (load(root / "changelogs" / "changelog.yaml") or {}).get("releases") or {}
    return [] if version in releases else [f"galaxy.yml has the version {version}, changelogs/changelog.yaml knows {', '.join(releases) or 'none'}"]


# --- the lab ------------------------------------------------------------------------------------------------------------------------------

#: Molecule wants its scenarios there, though they are tests.
TESTS = ("tests/", "extensions/molecule/")
ADDRESS = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{0,4}){2,7})(?![\w.:])")


def addresses(text: str) -> set[str]:
    """The addresses of the Internet in a text, without those that are for documentation or have a meaning of their own."""
    found = set()
    for word in ADDRESS.findall(text):
        try:
            address = ipaddress.ip_address(word)
        except ValueError:
            continue
        if address.is_global and not address.is_multicast:
            found.add(str(address))
    return found


def lab_names(root: Path) -> tuple[dict[str, str], set[str]]:
    """How the lab calls its things, as patterns and what they mean; and the addresses that it has in every run."""
    folder = root / "tests" / "lab" / "labtool"
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))}
    together = "\n".join(texts.values())
    patterns = {r"(?<![\w/-])lab_[a-z]\w*": "a variable of the lab"}
    for name in sorted(set(re.findall(r"\btable \w+ (lab\w+)", together)) | set(re.findall(r"\b(lab-[a-z-]+)(?:\.service|\b)", together))):
        patterns[rf"(?<![\w/-]){name}(?![\w-])"] = "a thing in the lab"
    groups = re.search(r"^GROUPS = (\{.*?\})$", texts.get("topology", ""), re.M | re.S)
    known = ast.literal_eval(groups.group(1)) if groups else {}
    if known:
        hosts, own = "|".join(sorted(known)), "|".join(sorted(set(known.values()) - {BASE}))
        patterns[rf"(?<![\w.-])(?:hosts|delegate_to): [\"']?(?:{hosts})\b(?![.-])"] = "a host of the lab"
        patterns[rf"\bgroups(?:\.|\[[\"'])(?:{own})\b"] = "a group of the lab"
        # The names are plain words, so they count only where a host is meant.
        patterns[rf"(?i)\b\w*host\w*\s*==\s*[\"'](?:{hosts})[\"']"] = "a host of the lab"
    return patterns, addresses(together)


def check_lab(root: Path) -> list[str]:
    """What users get must not know where it is tested."""
    bad = []
    patterns, fixed = lab_names(root)
    for path in tracked(root):
        name = str(path.relative_to(root))
        if name.startswith(TESTS):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for pattern, what in patterns.items():
            bad += [f"{name}: {word.strip()} is {what}" for word in sorted(set(re.findall(pattern, text, re.M)))]
        if fixed:
            bad += [f"{name}: {address} is an address in the lab" for address in sorted(addresses(text) & fixed)]
    return bad


CHECKS = {
    "role_inputs": check_role_inputs,
    "role_readmes": check_role_readmes,
    "arrows": check_arrows,
    "role_variables": check_role_variables,
    "names": check_names,
    "headers": check_headers,
    "readme": check_readme,
    "languages": check_languages,
    "release": check_release,
    "lab": check_lab,
}
