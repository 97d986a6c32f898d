"""What Martlet is made of, by `cargo metadata` and Cargo.lock: called by scripts/licences.sh and scripts/sbom.sh.

    dependencies.py licences             checks every crate against deny.toml: licences, banned crates, sources
    dependencies.py sbom PACKAGE FILE    writes what is linked into one program, as CycloneDX 1.5 in JSON
"""

import json
import re
import subprocess
import sys
import tomllib
import uuid

REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
TARGETS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]


def metadata(*arguments):
    """What cargo says of all crates and how they depend on each other. Of Linux on both processors unless told otherwise."""
    targets = arguments or [argument for target in TARGETS for argument in ("--filter-platform", target)]
    command = ["cargo", "metadata", "--format-version", "1", "--locked", *targets]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def satisfied(expression, allowed):
    """Whether an SPDX expression can be met with licences that are allowed: OR takes the better, AND needs both."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    at = 0

    def either():
        nonlocal at
        good = both()
        while at < len(tokens) and tokens[at] == "OR":
            at += 1
            good = both() or good
        return good

    def both():
        nonlocal at
        good = one()
        while at < len(tokens) and tokens[at] == "AND":
            at += 1
            good = one() and good
        return good

    def one():
        nonlocal at
        token = tokens[at]
        at += 1
        if token == "(":
            good = either()
            if at >= len(tokens) or tokens[at] != ")":
                raise ValueError(expression)
            at += 1
            return good
        if at < len(tokens) and tokens[at] == "WITH":
            token = f"{token} WITH {tokens[at + 1]}"
            at += 2
        return token in allowed

    good = either()
    if at != len(tokens):
        raise ValueError(expression)
    return good


def licences():
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    allowed = set(rules["licenses"]["allow"])
    banned = {rule["crate"]: rule.get("use-instead", "something else") for rule in rules["bans"]["deny"]}
    registries = {f"registry+{url}" for url in rules["sources"]["allow-registry"]}
    used, wrong, crates = set(), [], 0
    for crate in metadata()["packages"]:
        name = f"{crate['name']} {crate['version']}"
        if crate["source"] is None:
            if crate.get("publish") != []:
                wrong.append(f"{name}: a crate of this repository needs publish = false")
            continue
        crates += 1
        if crate["source"] not in registries:
            wrong.append(f"{name}: comes from {crate['source']}, which deny.toml does not allow")
        if crate["name"] in banned:
            wrong.append(f"{name}: is banned by deny.toml; use {banned[crate['name']]}")
        expression = crate["license"] or ""
        try:
            if not satisfied(expression, allowed):
                wrong.append(f"{name}: licence {expression!r} is not allowed by deny.toml")
        except (ValueError, IndexError):
            wrong.append(f"{name}: licence {expression!r} cannot be understood; look at the crate")
        used.update(re.findall(r"[^\s()/]+", expression))
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        sys.exit(1)
    print(f"{crates} crates come from crates.io, under licences that deny.toml allows")


def checksums():
    with open("Cargo.lock", "rb") as file:
        packages = tomllib.load(file)["package"]
    return {(package["name"], package["version"]): package.get("checksum") for package in packages}


def component(crate, sums, kind="library"):
    url = f"pkg:cargo/{crate['name']}@{crate['version']}"
    found = {"type": kind, "bom-ref": url, "name": crate["name"], "version": crate["version"], "purl": url}
    if crate["license"]:
        found["licenses"] = [{"expression": crate["license"].replace("/", " OR ")}]
    if checksum := sums.get((crate["name"], crate["version"])):
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if crate["repository"]:
        found["externalReferences"] = [{"type": "vcs", "url": crate["repository"]}]
    return found


def sbom(program, path):
    said = metadata("--filter-platform", TARGETS[0])
    crates = {crate["id"]: crate for crate in said["packages"]}
    nodes = {node["id"]: node for node in said["resolve"]["nodes"]}
    root = next((id for id, crate in crates.items() if crate["name"] == program and crate["source"] is None), None)
    if root is None:
        sys.exit(f"dependencies.py: there is no crate {program} in this workspace")
    # Tests' dependencies are not linked; those of build scripts are not either, but make what is.
    wanted, edges, reached = [root], {}, {root}
    for id in wanted:
        needs = [dep["pkg"] for dep in nodes[id]["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
        edges[id] = needs
        for need in needs:
            if need not in reached:
                reached.add(need)
                wanted.append(need)
    sums = checksums()
    listed = {id: component(crates[id], sums, "application" if id == root else "library") for id in wanted}
    components = sorted((listed[id] for id in wanted if id != root), key=lambda one: one["bom-ref"])
    dependencies = sorted(
        ({"ref": listed[id]["bom-ref"], "dependsOn": sorted({listed[need]["bom-ref"] for need in needs})} for id, needs in edges.items()),
        key=lambda one: one["ref"],
    )
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": listed[root]},
        "components": components,
        "dependencies": dependencies,
    }
    # Of the content, without a time: the same source gives the same file.
    name = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bom, sort_keys=True))
    bom = {**bom, "serialNumber": f"urn:uuid:{name}"}
    check(bom)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(bom, file, indent=1)
        file.write("\n")
    print(f"{path}: {len(components)} crates")


def check(bom):
    """What the schema of CycloneDX 1.5 requires of the parts that are written here."""
    every = [bom["metadata"]["component"], *bom["components"]]
    references = [one["bom-ref"] for one in every]
    problems = []
    if not re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bom["serialNumber"]):
        problems.append("serialNumber is no UUID")
    if len(set(references)) != len(references):
        problems.append("a bom-ref is there twice")
    for one in every:
        if one["type"] not in ("application", "library") or not one["name"]:
            problems.append(f"{one} lacks a type or a name")
        for digest in one.get("hashes", []):
            if not re.fullmatch(r"[0-9a-f]{64}", digest["content"]):
                problems.append(f"{one['bom-ref']}: the checksum is no SHA-256")
        # Only what is in this repository has no checksum in Cargo.lock.
        if "hashes" not in one and not one["name"].startswith("martlet-"):
            problems.append(f"{one['bom-ref']}: no checksum")
    for dependency in bom["dependencies"]:
        unknown = {dependency["ref"], *dependency["dependsOn"]} - set(references)
        if unknown:
            problems.append(f"{unknown} is depended on and not listed")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["licences"]:
            licences()
        case ["sbom", program, path]:
            sbom(program, path)
        case _:
            sys.exit(__doc__)
