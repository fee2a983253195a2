import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type {
  AddressGroup,
  DatabaseClient,
  DatabaseEngine,
} from "../../lib/clouds/alibaba/databases.ts";
import { CloudError } from "../../lib/clouds/error.ts";
import { type Cidr, parseCidr } from "../../lib/core/cidr.ts";
import type { Revision } from "../../lib/core/observation.ts";
import { databaseKind } from "../../lib/targets/alibaba/database.ts";
import { type Batch, TargetError } from "../../lib/targets/target.ts";
import { kindNamed, OWNER, targetConfig } from "./making.ts";

const SIGNAL = new AbortController().signal;
const ID = "rm-2ze704f67h9";
const GROUP = "k8s_prod";
const DEFAULT = groupOf("default", ["127.0.0.1"]);

function groupOf(
  name: string,
  addresses: readonly string[],
  more: Partial<AddressGroup> = {},
): AddressGroup {
  return { name, attribute: "", network: null, addresses, ...more };
}

interface Backend {
  groups: readonly AddressGroup[];
  /** What the next reads show instead, one after the other. */
  readonly late: (readonly AddressGroup[])[];
  readonly covers: (readonly string[])[];
  failing: CloudError | null;
  now: number;
}

/** An instance that believes everything, and a target on its group. */
function instance(
  groups: readonly AddressGroup[],
  options: {
    readonly engine?: DatabaseEngine;
    readonly network?: "classic" | "vpc";
    readonly limit?: number;
  } = {},
) {
  const nothing = { late: [], covers: [], failing: null, now: 1_000_000 };
  const backend: Backend = { groups: [DEFAULT, ...groups], ...nothing };
  const client: DatabaseClient = {
    now: () => backend.now,
    groups: async () => backend.late.shift() ?? backend.groups,
    async cover(_id, { group, network, addresses }) {
      if (backend.failing !== null) throw backend.failing;
      backend.covers.push(addresses);
      const isOther = (one: AddressGroup) => one.name !== group || one.network !== network;
      const others = backend.groups.filter(isOther);
      backend.groups = [...others, groupOf(group, addresses, { network })];
    },
  };
  const { engine = "rds", limit, ...own } = options;
  const settings = { region: "cn-beijing", id: ID, group: GROUP, ...own };
  const config = targetConfig(`alibaba/${engine}`, settings, { limit });
  const target = databaseKind(engine).make(config, settings, client);
  return { backend, target };
}

function batchOf(verb: Batch["verb"], cidrs: readonly string[], instead: readonly string[] = []) {
  return { verb, cidrs: cidrs.map(cidrOf), text: "ka1x", instead: instead.map(cidrOf), late: [] };
}

function cidrOf(text: string): Cidr {
  const cidr = parseCidr(text);
  assert(cidr !== null);
  return cidr;
}

async function refusal(work: Promise<unknown>): Promise<TargetError> {
  const error = await work.then(
    () => assert.fail("it was not refused"),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof TargetError, String(error));
  assert.match(error.message, /^Cannot [a-z]+ .*alibaba\/[a-z]+\/.+: .+; .+[^.]$/);
  return error;
}

function addressesOf({ groups }: Backend): readonly string[] {
  return groups.find(({ name }) => name === GROUP)?.addresses ?? [];
}

test("observe() shows the group in one form, and nothing of other groups", async () => {
  const own = groupOf(GROUP, ["10.1.2.3/24", "192.0.2.1", "0.0.0.0/0", "192.0.2.1/32"]);
  const { target } = instance([groupOf("office", ["192.0.2.9"]), own]);
  const { entries } = await target.observe(SIGNAL);
  assert.deepEqual(
    entries.map(({ cidr, text, effect }) => `${cidr} ${text} ${effect}`),
    ["0.0.0.0/0", "10.1.2.0/24", "192.0.2.1/32"].map((cidr) => `${cidr} ${GROUP} allow`),
  );
});

test("observe() counts all groups of an instance, but of Redis only the own one", async () => {
  const groups = [groupOf("office", ["192.0.2.9", "192.0.2.8"]), groupOf(GROUP, ["192.0.2.1"])];
  for (const engine of ["mongodb", "polardb", "rds", "redis"] as const) {
    const { capacity } = await instance(groups, { engine }).target.observe(SIGNAL);
    const used = engine === "redis" ? 1 : 4;
    assert.deepEqual(capacity, [{ families: ["ipv4"], used, limit: 1_000 }]);
  }
  const { capacity } = await instance(groups, { limit: 2_000 }).target.observe(SIGNAL);
  assert.equal(capacity[0]?.limit, 1_000);
});

test("observe() refuses a group that the vendor hides, and so does apply()", async () => {
  const { backend, target } = instance([groupOf(GROUP, ["192.0.2.1"], { attribute: "hidden" })]);
  assert.equal((await refusal(target.observe(SIGNAL))).kind, "invalid");
  const add = target.apply(batchOf("add", ["192.0.2.2/32"]), null, SIGNAL);
  assert.equal((await refusal(add)).kind, "invalid");
  assert.deepEqual(backend.covers, []);
});

test("observe() does not guess which list is meant where an instance keeps several", async () => {
  const split = [
    groupOf(GROUP, ["192.0.2.1"], { network: "vpc" }),
    groupOf("office", ["192.0.2.9"], { network: "classic" }),
  ];
  const unset = await refusal(instance(split).target.observe(SIGNAL));
  assert.equal(unset.kind, "invalid");
  assert.match(unset.message, /set network to vpc or classic$/);
  const needless = await refusal(instance([], { network: "vpc" }).target.observe(SIGNAL));
  assert.match(needless.message, /leave network out$/);
  const other = [groupOf(GROUP, ["192.0.2.1"], { network: "classic" })];
  const wrong = await refusal(instance(other, { network: "vpc" }).target.observe(SIGNAL));
  assert.match(wrong.message, /set the other one$/);
});

test("apply() writes to the list of the network that is set, and to no other", async () => {
  const vpc = groupOf(GROUP, ["192.0.2.1"], { network: "vpc" });
  const classic = groupOf(GROUP, ["198.51.100.1"], { network: "classic" });
  const { backend, target } = instance([classic, vpc], { network: "vpc" });
  const { entries, revision } = await target.observe(SIGNAL);
  assert.deepEqual(
    entries.map(({ cidr }) => cidr),
    ["192.0.2.1/32"],
  );
  await target.apply(batchOf("add", ["192.0.2.2/32"]), revision, SIGNAL);
  assert.deepEqual(backend.groups, [
    DEFAULT,
    classic,
    groupOf(GROUP, ["192.0.2.1", "192.0.2.2"], { network: "vpc" }),
  ]);
});

test("observe() and apply() reject when an address of the group cannot be read", async () => {
  for (const address of ["%", "256.1.1.1", "10.0.0.1-10.0.0.9", "010.0.0.1"]) {
    const { backend, target } = instance([groupOf(GROUP, ["192.0.2.1", address])]);
    assert.equal((await refusal(target.observe(SIGNAL))).kind, "unavailable");
    const add = target.apply(batchOf("add", ["192.0.2.2/32"]), null, SIGNAL);
    assert.equal((await refusal(add)).kind, "unavailable");
    assert.deepEqual(backend.covers, []);
  }
  // What others wrote into their groups is nobody's business here.
  const { target } = instance([groupOf("office", ["%"]), groupOf(GROUP, ["192.0.2.1"])]);
  assert.equal((await target.observe(SIGNAL)).entries.length, 1);
});

test("apply() leaves what it does not name as it is written, in its order", async () => {
  const { backend, target } = instance([
    groupOf(GROUP, ["198.51.100.9/32", "10.1.2.3/24", "192.0.2.1"]),
  ]);
  const { revision } = await target.observe(SIGNAL);
  const added = await target.apply(
    batchOf("add", ["192.0.2.7/32", "192.0.2.1/32", "172.16.0.0/16"]),
    revision,
    SIGNAL,
  );
  assert.deepEqual(addressesOf(backend), [
    "198.51.100.9/32",
    "10.1.2.3/24",
    "192.0.2.1",
    "172.16.0.0/16",
    "192.0.2.7",
  ]);
  await target.apply(batchOf("remove", ["10.1.2.0/24"], ["10.1.2.4/32"]), added, SIGNAL);
  assert.deepEqual(addressesOf(backend), [
    "198.51.100.9/32",
    "192.0.2.1",
    "172.16.0.0/16",
    "192.0.2.7",
    "10.1.2.4",
  ]);
});

test("apply() says full before the call, with numbers, and takes what just fits", async () => {
  const many = Array.from({ length: 996 }, (_, index) => `198.18.${index >> 8}.${index & 255}`);
  const { backend, target } = instance([groupOf("office", many), groupOf(GROUP, ["192.0.2.1"])]);
  const { revision } = await target.observe(SIGNAL);
  const three = batchOf("add", ["192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32"]);
  const error = await refusal(target.apply(three, revision, SIGNAL));
  assert.equal(error.kind, "full");
  assert.match(error.message, /: 998 of 1000 entries are used; /);
  assert.deepEqual(backend.covers, []);
  const two = batchOf("add", ["192.0.2.2/32", "192.0.2.3/32"]);
  const full = await target.apply(two, revision, SIGNAL);
  // An instance that is full, or fuller, takes what does not make it grow.
  const swap = batchOf("remove", ["192.0.2.2/32"], ["192.0.2.9/32"]);
  await target.apply(swap, full, SIGNAL);
  assert.deepEqual(addressesOf(backend), ["192.0.2.1", "192.0.2.3", "192.0.2.9"]);
});

test("apply() lets a group shrink, or stay as large, that is larger than its limit", async () => {
  const own = groupOf(GROUP, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
  const { backend, target } = instance([own], { limit: 2 });
  const { revision, capacity } = await target.observe(SIGNAL);
  assert.deepEqual(capacity, [{ families: ["ipv4"], used: 4, limit: 2 }]);
  const swapped = await target.apply(
    batchOf("remove", ["192.0.2.1"], ["192.0.2.9"]),
    revision,
    SIGNAL,
  );
  await target.apply(batchOf("remove", ["192.0.2.2"]), swapped, SIGNAL);
  assert.deepEqual(addressesOf(backend), ["192.0.2.3", "192.0.2.9"]);
});

test("apply() refuses to empty the group, also in the place of something else", async () => {
  const { backend, target } = instance([groupOf(GROUP, ["192.0.2.1"])]);
  const { revision } = await target.observe(SIGNAL);
  const error = await refusal(target.apply(batchOf("remove", ["192.0.2.1"]), revision, SIGNAL));
  assert.equal(error.kind, "invalid");
  assert.deepEqual(backend.covers, []);
  await target.apply(batchOf("remove", ["192.0.2.1"], ["192.0.2.2"]), revision, SIGNAL);
  assert.deepEqual(addressesOf(backend), ["192.0.2.2"]);
});

test("apply() does not write on a read that is older than its own last write", async () => {
  const { backend, target } = instance([groupOf(GROUP, ["192.0.2.1", "192.0.2.2"])]);
  const before = backend.groups;
  const first = await target.observe(SIGNAL);
  await target.apply(batchOf("add", ["192.0.2.3"]), first.revision, SIGNAL);
  // Both the read that was planned from and the read before the write show the old content.
  backend.late.push(before, before);
  const late = await target.observe(SIGNAL);
  const removal = target.apply(batchOf("remove", ["192.0.2.1"]), late.revision, SIGNAL);
  assert.equal((await refusal(removal)).kind, "conflict");
  assert.deepEqual(addressesOf(backend), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
  // Nor without anything that was read by the caller.
  backend.late.push(before);
  const blind = target.apply(batchOf("add", ["192.0.2.4"]), null, SIGNAL);
  assert.match((await refusal(blind)).message, /what was there before the last write/);
  // Once the read has caught up the same removal keeps what was added.
  await target.apply(batchOf("remove", ["192.0.2.1"]), late.revision, SIGNAL);
  assert.deepEqual(addressesOf(backend), ["192.0.2.2", "192.0.2.3"]);
});

test("apply() does not write over what somebody else wrote since the read", async () => {
  for (const addresses of [["192.0.2.1", "192.0.2.7"], ["192.0.2.1"], []]) {
    const { backend, target } = instance([groupOf(GROUP, ["192.0.2.1", "192.0.2.2"])]);
    const { revision } = await target.observe(SIGNAL);
    backend.groups = [DEFAULT, groupOf(GROUP, addresses)];
    const add = batchOf("add", ["192.0.2.3"]);
    assert.equal((await refusal(target.apply(add, revision, SIGNAL))).kind, "conflict");
    const again = await target.observe(SIGNAL);
    await target.apply(add, again.revision, SIGNAL);
    assert.deepEqual(addressesOf(backend), [...addresses, "192.0.2.3"]);
  }
});

test("apply() does not write over what somebody else wrote after its own last write", async () => {
  const { backend, target } = instance([groupOf(GROUP, ["192.0.2.1"])]);
  const { revision } = await target.observe(SIGNAL);
  await target.apply(batchOf("add", ["192.0.2.2"]), revision, SIGNAL);
  const own = backend.groups;
  backend.groups = [DEFAULT, groupOf(GROUP, ["192.0.2.1", "192.0.2.2", "192.0.2.9"])];
  const theirs = await target.observe(SIGNAL);
  // The read before the write is late by one: it shows our own content.
  backend.late.push(own);
  const add = target.apply(batchOf("add", ["192.0.2.3"]), theirs.revision, SIGNAL);
  assert.equal((await refusal(add)).kind, "conflict");
  assert.deepEqual(addressesOf(backend), ["192.0.2.1", "192.0.2.2", "192.0.2.9"]);
});

test("apply() takes an earlier content for late for a minute, then for what another process wrote", async () => {
  const { backend, target } = instance([groupOf(GROUP, ["192.0.2.1"])]);
  const first = await target.observe(SIGNAL);
  await target.apply(batchOf("add", ["192.0.2.2"]), first.revision, SIGNAL);
  // The resync of another process has removed it again.
  backend.groups = [DEFAULT, groupOf(GROUP, ["192.0.2.1"])];
  const add = async () =>
    target.apply(batchOf("add", ["192.0.2.3"]), (await target.observe(SIGNAL)).revision, SIGNAL);
  backend.now += 59_999;
  assert.equal((await refusal(add())).kind, "conflict");
  backend.now += 1;
  await add();
  assert.deepEqual(addressesOf(backend), ["192.0.2.1", "192.0.2.3"]);
});

test("apply() does not write back what was removed a moment ago, though a read still shows it", async () => {
  const { backend, target } = instance([groupOf(GROUP, ["10.0.0.0/24", "192.0.2.1"])]);
  const { revision } = await target.observe(SIGNAL);
  const batch = { ...batchOf("add", ["192.0.2.2"]), late: [cidrOf("10.0.0.0/24")] };
  await target.apply(batch, revision, SIGNAL);
  assert.deepEqual(addressesOf(backend), ["192.0.2.1", "192.0.2.2"]);
});

test("apply() goes back to an earlier content without taking it for a late read", async () => {
  const { backend, target } = instance([groupOf(GROUP, ["192.0.2.1"])]);
  let { revision } = await target.observe(SIGNAL);
  for (const verb of ["add", "remove", "add", "remove"] as const) {
    revision = await target.apply(batchOf(verb, ["192.0.2.2"]), revision, SIGNAL);
  }
  assert.deepEqual(addressesOf(backend), ["192.0.2.1"]);
});

test("apply() tells a person what is behind a code of several meanings", async () => {
  const { backend, target } = instance([groupOf("office", ["192.0.2.9"])]);
  const operation = "rds:ModifySecurityIps";
  const code = "InvalidSecurityIPListLength.Malformed";
  backend.failing = new CloudError("invalid", code, { operation });
  const error = await refusal(target.apply(batchOf("add", ["192.0.2.1"]), null, SIGNAL));
  assert.equal(error.kind, "invalid");
  assert.match(
    error.message,
    /it would use 3 of 1000 entries; look for one that overlaps another group$/,
  );
});

test("apply() changes exactly what its batches name, whatever came before", async () => {
  const address = fc.integer({ min: 0, max: 7 }).map((last) => `192.0.2.${last}/32`);
  const batch = fc.record({
    verb: fc.constantFrom("add" as const, "remove" as const),
    cidrs: fc.uniqueArray(address, { minLength: 1, maxLength: 4 }),
    looks: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(batch, { maxLength: 12 }), async (batches) => {
      const { backend, target } = instance([groupOf(GROUP, ["192.0.2.100"])]);
      let model = new Set(["192.0.2.100/32"]);
      let revision: Revision = null;
      for (const { verb, cidrs, looks } of batches) {
        if (looks) ({ revision } = await target.observe(SIGNAL));
        revision = await target.apply(batchOf(verb, cidrs), revision, SIGNAL);
        model =
          verb === "add"
            ? new Set([...model, ...cidrs])
            : new Set([...model].filter((cidr) => !cidrs.includes(cidr)));
        const found = addressesOf(backend).map((one) => String(parseCidr(one)));
        assert.deepEqual(found.toSorted(), [...model].toSorted());
      }
    }),
    { numRuns: 200 },
  );
});

test("the schema refuses the vendor's own groups and names that an engine does not take", () => {
  const problems = (engine: DatabaseEngine, settings: object) => {
    const base = { region: "cn-beijing", id: ID };
    const parsed = kindNamed(`alibaba/${engine}`).schema.safeParse({ ...base, ...settings });
    return (parsed.error?.issues ?? []).map(({ message }) => message);
  };
  for (const engine of ["mongodb", "polardb", "rds", "redis"] as const) {
    assert.deepEqual(problems(engine, {}), []);
    assert.deepEqual(problems(engine, { group: "k8s" }), []);
    for (const group of ["default", "dms", "dts"]) {
      assert.match(
        String(problems(engine, { group })[0]),
        /^Cannot use group "\w+": it is the ven/,
      );
    }
    for (const group of ["K8s", "k", "8k", "k8s_", "k8s-prod", ""]) {
      assert.match(String(problems(engine, { group })[0]), /^Cannot use group ".*": write a name/);
    }
    assert.match(String(problems(engine, { id: "nothing" })[0]), /^Cannot use id "nothing": /);
    assert.equal(problems(engine, { network: "vpc" }).length, engine === "rds" ? 0 : 1);
  }
  assert.deepEqual(problems("rds", { group: GROUP }), []);
  assert.equal(problems("polardb", { group: GROUP }).length, 1);
  assert.equal(problems("rds", { group: "hdm_security_ips" }).length, 1);
  assert.equal(problems("rds", { group: "a".repeat(33) }).length, 1);
  assert.equal(problems("rds", { network: "MIX" }).length, 1);
});

test("a database's name has its group, by default the list's own container, and its network", () => {
  const { identify } = kindNamed("alibaba/rds");
  const settings = { region: "cn-beijing", id: ID };
  assert.deepEqual(identify(settings, OWNER), {
    name: `alibaba/rds/${ID}/ka1qivthbj4srqw`,
    object: `alibaba-rds.cn-beijing.${ID}`,
  });
  assert.equal(
    identify({ ...settings, group: GROUP, network: "vpc" }, OWNER).name,
    `alibaba/rds/${ID}/${GROUP}/vpc`,
  );
});

test("permissions() name one instance and the three actions of its product", () => {
  const account = "1234567890123456";
  const of = (engine: DatabaseEngine) => {
    const settings = { region: "cn-beijing", id: ID };
    const found = kindNamed(`alibaba/${engine}`).permissions(settings, account);
    assert(found.dialect === "ram");
    return [...found.read, ...found.add, ...found.remove].flatMap(({ actions, resources }) =>
      actions.map((action) => `${action} ${resources}`),
    );
  };
  assert.deepEqual(of("redis"), [
    `kvstore:DescribeSecurityIps acs:kvstore:cn-beijing:${account}:instance/${ID}`,
    `kvstore:DescribeInstanceAttribute acs:kvstore:cn-beijing:${account}:instance/${ID}`,
    `kvstore:ModifySecurityIps acs:kvstore:cn-beijing:${account}:instance/${ID}`,
    `kvstore:ModifySecurityIps acs:kvstore:cn-beijing:${account}:instance/${ID}`,
  ]);
  assert.match(String(of("polardb")[0]), /^polardb:.* acs:polardb:.*:dbcluster\//);
  assert.match(String(of("mongodb")[0]), /^dds:.* acs:dds:.*:dbinstance\//);
  assert.match(String(of("rds")[0]), /^rds:.* acs:rds:.*:dbinstance\//);
});
