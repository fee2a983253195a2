import assert from "node:assert/strict";
import { test } from "node:test";
import { runDev } from "../../cli/commands/dev.ts";
import { type Demonstration, openDemonstration } from "../../cli/demonstration.ts";
import { checkExhibit, type Expected } from "../../cli/exhibit-check.ts";
import {
  type Exhibit,
  type Exhibits,
  FIREWALL,
  openExhibits,
  RDS_INSTANCE,
  SECURITY_GROUP,
} from "../../cli/exhibits.ts";
import type { Output, Shell } from "../../cli/shell.ts";
import { addressText, type Cidr } from "../../lib/core/cidr.ts";
import { containerOf, markerText } from "../../lib/core/marker.ts";
import type { World } from "../../lib/world.ts";
import { cidrs, hosts } from "../core/cases.ts";
import { soon } from "./shell.ts";

const OWNER = { installation: "demo", list: "payments-db", formerly: [] };
const NODES = hosts(3);
const NOW = 1_000_000;

/** Writes these as our entries, beside what is there of others: as the product would, by hand. */
function writeOwn({ groups, databases, linode }: Exhibits, own: readonly Cidr[]): void {
  const description = markerText(OWNER.installation, OWNER.list);
  const ports = { egress: false, protocol: "tcp", fromPort: 5432, toPort: 5432 };
  const [hand, ...others] = groups
    .rules(SECURITY_GROUP)
    .filter((rule) => rule.description !== description);
  assert(hand !== undefined);
  groups.set(SECURITY_GROUP, [
    hand,
    ...others,
    ...own.map((cidr) => ({
      ...ports,
      source: { kind: "ipv4", text: cidr } as const,
      description,
    })),
  ]);
  const name = containerOf(OWNER);
  const addresses = own.map(addressText);
  databases.set(RDS_INSTANCE, [
    ...databases.groups(RDS_INSTANCE).filter((group) => group.name !== name),
    { name, attribute: "", network: "MIX", addresses },
  ]);
  const rules = linode.rules(FIREWALL);
  assert(rules !== null);
  const { version: _version, ...content } = rules;
  const mine = { action: "ACCEPT", protocol: "TCP", ports: "5432", description };
  linode.setRules(FIREWALL, {
    ...content,
    inbound: [
      ...content.inbound.filter((rule) => rule.description !== description),
      { ...mine, label: "ours", addresses: { ipv4: own } },
    ],
  });
}

/** Takes away, or changes, what is somebody else's. */
const MEDDLE: readonly ((exhibits: Exhibits) => void)[] = [
  ({ groups }) => {
    const rules = groups.rules(SECURITY_GROUP);
    groups.set(
      SECURITY_GROUP,
      rules.filter(({ description }) => description !== "office, by hand"),
    );
  },
  ({ databases }) => {
    const groups = databases.groups(RDS_INSTANCE);
    const changed = groups.map((one) =>
      one.name === "default" ? { ...one, addresses: ["0.0.0.0/0"] } : one,
    );
    databases.set(RDS_INSTANCE, changed);
  },
  ({ linode }) => {
    const rules = linode.rules(FIREWALL);
    assert(rules !== null);
    const { version: _version, ...content } = rules;
    linode.setRules(FIREWALL, { ...content, outbound: [] });
  },
];

function expected(given: Partial<Expected>): Omit<Expected, "others"> {
  return {
    wanted: new Set(NODES),
    departed: new Map(),
    now: NOW,
    graceMs: 10_000,
    staysMsMax: 60_000,
    ...given,
  };
}

/** The exhibits with these entries of ours, what is found of each, and what others had in them. */
async function found(
  own: readonly Cidr[],
  given: Partial<Expected> = {},
  meddle: (exhibits: Exhibits) => void = () => undefined,
) {
  const exhibits = await openExhibits(OWNER);
  try {
    const before = new Map(exhibits.all.map((one) => [one.name, one.others()]));
    writeOwn(exhibits, own);
    meddle(exhibits);
    const check = (exhibit: Exhibit) =>
      checkExhibit(exhibit, { ...expected(given), others: before.get(exhibit.name) ?? "" });
    return exhibits.all.map(check);
  } finally {
    await Promise.all(exhibits.all.map((one) => one.close()));
  }
}

function departedAt(at: number, cidr: string, heldBy: readonly string[] = []) {
  const [one] = cidrs(cidr);
  assert(one !== undefined);
  return new Map([[one, { at, heldBy: new Set(heldBy) }]]);
}

test("checkExhibit() finds each kind good that holds the nodes, graces and what is foreign", async () => {
  const own = [...NODES, ...cidrs("203.0.113.9/32")];
  const findings = await found(own, { departed: departedAt(NOW - 30_000, "203.0.113.9/32") });
  assert.deepEqual(findings, [
    {
      isGood: true,
      sentence:
        `security group ${SECURITY_GROUP}: 3 nodes, 1 address in grace, a hand-made rule ` +
        "untouched",
    },
    {
      isGood: true,
      sentence:
        `RDS instance ${RDS_INSTANCE}: 3 nodes, 1 address in grace, 3 groups of others ` +
        "untouched",
    },
    {
      isGood: true,
      sentence:
        `Linode firewall ${FIREWALL}: 3 nodes, 1 address in grace, 3 rules of others ` +
        "untouched",
    },
  ]);
});

test("checkExhibit() finds at each kind what is missing, too early gone, strange or overdue", async () => {
  const names = (await found(NODES)).map(({ sentence }) => sentence.split(":")[0] ?? "");
  const extra = [...NODES, ...cidrs("203.0.113.9/32")];
  const cases = [
    [NODES.slice(1), {}, "203.0.113.1/32 missing"],
    [extra, {}, "203.0.113.9/32 of no node that ever was"],
    [
      NODES,
      { departed: departedAt(NOW - 9_000, "203.0.113.9/32", names) },
      "203.0.113.9/32 gone before the grace was over",
    ],
    [
      extra,
      { departed: departedAt(NOW - 61_000, "203.0.113.9/32", names) },
      "203.0.113.9/32 still there long after the grace",
    ],
  ] as const;
  for (const [own, given, fault] of cases) {
    const findings = await found(own, given);
    const sentences = names.map((name) => `The ${name} is not what the cluster says: ${fault}`);
    assert.deepEqual(
      findings,
      sentences.map((sentence) => ({ isGood: false, sentence })),
    );
  }
});

test("checkExhibit() wants no grace of a place that never held the address", async () => {
  const findings = await found(NODES, {
    departed: departedAt(NOW - 1_000, "203.0.113.9/32", ["?"]),
  });
  assert(findings.every(({ isGood }) => isGood));
});

test("checkExhibit() finds what became of somebody else's at the one place where it happened", async () => {
  for (const [index, meddle] of MEDDLE.entries()) {
    const findings = await found(NODES, {}, meddle);
    assert.deepEqual(
      findings.map(({ isGood }) => isGood),
      findings.map((_finding, other) => other !== index),
    );
    assert.match(
      findings[index]?.sentence ?? "",
      /others? not as before$|hand-made rule not as before$/,
    );
  }
});

function quietShell(): Shell & { readonly written: { stdout: string; stderr: string } } {
  const written = { stdout: "", stderr: "" };
  const outputOf = (name: "stdout" | "stderr"): Output => ({
    write(text) {
      written[name] += text;
    },
    isTerminal: false,
    size: () => ({ columns: 80, rows: 24 }),
    closed: new AbortController().signal,
  });
  return {
    args: [],
    env: {},
    folder: "/nonexistent",
    stdout: outputOf("stdout"),
    stderr: outputOf("stderr"),
    signal: new AbortController().signal,
    written,
  };
}

test("runDev() exits 1 when one target is wrong, and says which", async () => {
  const opened: Demonstration[] = [];
  const open = async (world: World) => {
    const demonstration = await openDemonstration(world);
    opened.push(demonstration);
    return demonstration;
  };
  const shell = quietShell();
  const running = runDev({ port: 0, resync: 10_000, seconds: 1 }, shell, open);
  await soon("nodes were read back", () => shell.written.stdout.includes("11 nodes present"));
  const exhibits = opened[0]?.exhibits;
  assert(exhibits !== undefined);
  MEDDLE.at(-1)?.(exhibits);
  assert.equal(await running, 1);
  const { stdout, stderr } = shell.written;
  const fault = "3 rules of others not as before";
  const sentence = `The Linode firewall ${FIREWALL} is not what the cluster says: ${fault}\n`;
  assert.equal(stderr, sentence);
  assert(stdout.includes(sentence));
  assert.match(stdout, /security group \S+: 1\d nodes, .* untouched\n/);
  assert.match(stdout, /RDS instance \S+: 1\d nodes, .* untouched\n/);
});
