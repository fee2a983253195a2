import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { aggregate } from "../../lib/core/aggregate.ts";
import { type Cidr, familyOf, parseCidr, sortCidrs } from "../../lib/core/cidr.ts";
import { hosts } from "../core/cases.ts";
import { feedOf, MIXED, render } from "./cases.ts";

/*
 * The files for Linux, loaded by the real programs into the kernel, each time in a network
 * namespace of its own that ends with its processes.
 */

const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-feeds-"));
after(() => rmSync(folder, { recursive: true }));

const FOLDERS = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];
const ENV = { PATH: FOLDERS.join(delimiter), LC_ALL: "C" };
const NAMESPACES = [
  ["unshare", "-n"],
  ["unshare", "-Urn"],
];

/** How to run something in a new network namespace, or null after skipping the test. */
function namespaceFor(programs: readonly string[], context: TestContext): readonly string[] | null {
  const absent = programs.filter((name) => !FOLDERS.some((path) => existsSync(join(path, name))));
  if (absent.length > 0) {
    context.skip(
      `${absent.join(", ")} not found: install nftables, iptables and ipset to run this`,
    );
    return null;
  }
  const found = NAMESPACES.find(([file = "", ...args]) => {
    return spawnSync(file, [...args, "true"], { env: ENV }).status === 0;
  });
  if (found !== undefined) return found;
  context.skip("no network namespace can be made here: run this as root, or allow user namespaces");
  return null;
}

/** Runs a shell script in a namespace of its own, with these files beside it. */
function run(
  namespace: readonly string[],
  script: string,
  files: Readonly<Record<string, string>>,
) {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  const [file = "", ...args] = namespace;
  const options = { cwd: folder, env: ENV, encoding: "utf8" } as const;
  const { status, stdout, stderr } = spawnSync(file, [...args, "sh", "-c", script], options);
  return { status, stdout, stderr };
}

const BEFORE = feedOf(hosts(3));
const AFTER = feedOf(MIXED);
const EMPTY = feedOf([]);
const ofFamily = (entries: readonly Cidr[], family: string) =>
  entries.filter((cidr) => familyOf(cidr) === family);

/** What `nft -j list ruleset` shows of a set, as networks. */
function elementsOf(shown: string, name: string): readonly Cidr[] {
  const { nftables } = JSON.parse(shown) as { nftables: { set?: NftSet }[] };
  const set = nftables.find((one) => one.set?.name === name)?.set;
  assert(set !== undefined, name);
  const texts = (set.elem ?? []).map((elem) =>
    typeof elem === "string" ? elem : `${elem.prefix.addr}/${elem.prefix.len}`,
  );
  return sortCidrs(texts.flatMap((text) => parseCidr(text) ?? []));
}

interface NftSet {
  readonly name: string;
  readonly elem?: readonly (
    | string
    | { readonly prefix: { readonly addr: string; readonly len: number } }
  )[];
}

test("nft -f takes the file, at first and again, and the sets hold exactly the feed", (context) => {
  const namespace = namespaceFor(["nft"], context);
  if (namespace === null) return;
  const files = { "1.nft": render("nft", BEFORE), "2.nft": render("nft", AFTER) };
  const script =
    "nft -c -f 1.nft && nft -f 1.nft && nft -f 1.nft && nft -f 2.nft && nft -j list ruleset";
  const { status, stdout, stderr } = run(namespace, script, files);
  assert.equal(status, 0, stderr);
  for (const [name, family] of [
    ["payments_db_v4", "ipv4"],
    ["payments_db_v6", "ipv6"],
  ] as const) {
    assert.deepEqual(elementsOf(stdout, name), aggregate(ofFamily(MIXED, family)));
  }
});

test(
  "nft -f empties the sets of an empty feed and of a family that is gone, and keeps the " + "rules",
  (context) => {
    const namespace = namespaceFor(["nft"], context);
    if (namespace === null) return;
    const files = {
      "1.nft": render("nft", AFTER),
      "2.nft": render("nft", BEFORE),
      "3.nft": render("nft", EMPTY),
      "rules.nft": [
        "table inet kube_allowlist {",
        "  chain input {",
        "    type filter hook input priority filter",
        "    tcp dport 5432 ip saddr != @payments_db_v4 drop",
        "  }",
        "}\n",
      ].join("\n"),
    };
    const script = "nft -f 1.nft && nft -f rules.nft && nft -f 2.nft && nft -j list ruleset";
    const second = run(namespace, script, files);
    assert.equal(second.status, 0, second.stderr);
    assert.deepEqual(elementsOf(second.stdout, "payments_db_v4"), aggregate(hosts(3)));
    assert.deepEqual(elementsOf(second.stdout, "payments_db_v6"), []);
    assert.match(second.stdout, /"chain": "input"/);
    const third = run(namespace, "nft -f 1.nft && nft -f 3.nft && nft -j list ruleset", files);
    assert.deepEqual(elementsOf(third.stdout, "payments_db_v4"), []);
  },
);

test("nft -f refuses a file that was cut within its block, and changes nothing", (context) => {
  const namespace = namespaceFor(["nft"], context);
  if (namespace === null) return;
  const whole = render("nft", AFTER);
  const block = whole.indexOf("\ntable inet");
  const cuts = whole.split("\n").map((_line, index, lines) => lines.slice(0, index).join("\n"));
  const within = cuts.filter((text) => text.length > block && text.length < whole.length - 2);
  assert(within.length > 10);
  const files: Record<string, string> = { "1.nft": render("nft", BEFORE) };
  for (const [index, text] of within.entries()) files[`cut-${index}.nft`] = text;
  const script = "nft -f 1.nft; for f in cut-*.nft; do nft -f $f 2>&1 && echo TAKEN $f; done";
  const { stdout } = run(namespace, `${script}; nft -j list ruleset`, files);
  assert.doesNotMatch(stdout, /TAKEN/);
  const shown = stdout.split("\n").find((line) => line.startsWith('{"nftables"')) ?? "";
  assert.deepEqual(elementsOf(shown, "payments_db_v4"), aggregate(hosts(3)));
});

test("nft takes the name of any list", (context) => {
  const namespace = namespaceFor(["nft"], context);
  if (namespace === null) return;
  const names = ["1db", "9", "set", "ip", "element-flush", "x".repeat(32), "a--b"];
  const files = Object.fromEntries(
    names.map((name, index) => [`${index}.nft`, render("nft", feedOf(MIXED, name))]),
  );
  const script = names.map((_name, index) => `nft -f ${index}.nft`).join(" && ");
  const { status, stderr } = run(namespace, script, files);
  assert.equal(status, 0, stderr);
});

/** Members of a set as `ipset save` shows them. */
function membersOf(shown: string, set: string): readonly Cidr[] {
  const members = [...shown.matchAll(/^add (\S+) (\S+)$/gm)].filter(([, name]) => name === set);
  return sortCidrs(members.flatMap(([, , text = ""]) => parseCidr(text) ?? []));
}

test("ipset restore takes the file, at first and again, also after one that stopped halfway", (context) => {
  const namespace = namespaceFor(["ipset"], context);
  if (namespace === null) return;
  // What it leaves behind under the other names is nothing that the next file holds.
  const broken = render("ipset", feedOf(hosts(9, 50))).replace(
    /^flush ka-payments-db-n6\n/m,
    "$&add ka-payments-db-n6 nonsense\n",
  );
  const files = {
    "1.ipset": render("ipset", BEFORE),
    "broken.ipset": broken,
    "2.ipset": render("ipset", AFTER),
  };
  const script =
    "ipset restore < 1.ipset && ipset restore < 1.ipset && ! ipset restore < " +
    "broken.ipset 2>/dev/null " +
    "&& ipset save > half && ipset restore < 2.ipset && ipset save && echo HALF && cat half";
  const { status, stdout, stderr } = run(namespace, script, files);
  assert.equal(status, 0, stderr);
  const [now = "", half = ""] = stdout.split("HALF");
  assert.deepEqual(membersOf(half, "ka-payments-db-v4"), hosts(3), "nothing in use was touched");
  assert.deepEqual(membersOf(now, "ka-payments-db-v4"), sortCidrs(ofFamily(MIXED, "ipv4")));
  assert.deepEqual(membersOf(now, "ka-payments-db-v6"), sortCidrs(ofFamily(MIXED, "ipv6")));
  assert.doesNotMatch(now, /-n[46]/, "nothing is left behind");
});

test("ipset takes the name of any list, also while a rule uses the set", (context) => {
  const namespace = namespaceFor(["ipset", "iptables-nft"], context);
  if (namespace === null) return;
  const name = "x".repeat(32);
  const set = /^create (\S+) /.exec(render("ipset", feedOf([], name)))?.[1] ?? "";
  const files = {
    "1.ipset": render("ipset", feedOf(hosts(3), name)),
    "2.ipset": render("ipset", feedOf(hosts(2), name)),
  };
  const script =
    `ipset restore < 1.ipset && iptables-nft -A INPUT -m set --match-set ${set} src -j ACCEPT ` +
    "&& ipset restore < 2.ipset && ipset save";
  const { status, stdout, stderr } = run(namespace, script, files);
  assert.equal(status, 0, stderr);
  assert.deepEqual(membersOf(stdout, set), hosts(2));
});

for (const variant of ["nft", "legacy"]) {
  test(`iptables-${variant}-restore replaces the list's chain in both families, nothing else`, (context) => {
    const [ipv4, ipv6] = [`iptables-${variant}`, `ip6tables-${variant}`];
    const namespace = namespaceFor([ipv4, ipv6], context);
    if (namespace === null) return;
    const files = {
      "1.v4": render("iptables", BEFORE),
      "2.v4": render("iptables", AFTER),
      "2.v6": render("ip6tables", AFTER),
      "cut.v4": render("iptables", EMPTY).replace("COMMIT\n", ""),
    };
    const script = [
      `${ipv4} -N OTHER && ${ipv4} -A OTHER -j DROP`,
      `${ipv4}-restore --noflush --test < 1.v4 && ${ipv4}-restore --noflush < 1.v4`,
      `${ipv4} -A INPUT -p tcp --dport 5432 -j KA-PAYMENTS-DB`,
      `${ipv4}-restore --noflush < 2.v4 && ${ipv6}-restore --noflush < 2.v6`,
      `{ ${ipv4}-restore --noflush < cut.v4 2>/dev/null || true; }`,
      `${ipv4} -S && echo IPV6 && ${ipv6} -S`,
    ];
    const { status, stdout, stderr } = run(namespace, script.join(" && "), files);
    assert.equal(status, 0, stderr);
    const [first = "", second = ""] = stdout.split("IPV6");
    const sources = (text: string) =>
      [...text.matchAll(/^-A KA-PAYMENTS-DB -s (\S+) -j ACCEPT$/gm)].map(([, source]) => source);
    assert.deepEqual(sources(first), sortCidrs(ofFamily(MIXED, "ipv4")));
    assert.deepEqual(sources(second), sortCidrs(ofFamily(MIXED, "ipv6")));
    assert.match(first, /^-A INPUT -p tcp -m tcp --dport 5432 -j KA-PAYMENTS-DB$/m);
    assert.match(first, /^-A OTHER -j DROP$/m);
  });
}
