import assert from "node:assert/strict";
import { test } from "node:test";
import { projectNode } from "../../forwarder/projection.ts";
import type { Cidr } from "../../lib/core/cidr.ts";
import type { Snapshot } from "../../lib/core/snapshot.ts";
import { renderDelivery } from "../../lib/wire/protocol.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import { cidrs, hosts, node, snapshot } from "../core/cases.ts";
import { CANARIES, receiver, signed } from "../functions/receiver.ts";

/*
 * What a message cannot do although its signature is good: somebody may own the cluster.
 */

const EU = parseSigningKey(CANARIES.EU_KEY);
const US = parseSigningKey(CANARIES.US_KEY);
const MINUTE_MS = 60_000;
const LIMIT = { timeout: 120_000 };

type Room = ReturnType<typeof receiver>;

function on(room: Room, id = "one"): readonly Cidr[] {
  return room.memory.entries(id).map(({ cidr }) => cidr);
}

/** Signs whatever text it is given. */
function postText(room: Room, text: string) {
  const body = Buffer.from(text);
  return room.post({ body, headers: signed(body, EU, room.world.now()) });
}

/** The deliveries of both clusters, each minute with a resync after them. */
async function live(
  room: Room,
  minutes: number,
  say: (minute: number) => readonly (readonly [Partial<Snapshot>, typeof EU])[],
): Promise<void> {
  for (let minute = 0; minute < minutes; minute += 1) {
    for (const [given, key] of say(minute)) {
      const { statusCode, body } = await room.deliver(given, key);
      assert.equal(statusCode, 200, body);
    }
    await room.resync();
    await room.world.advance(MINUTE_MS);
  }
}

const TWO_LISTS = {
  lists: {
    db: {
      from: [{ cluster: "eu", nodes: {}, addresses: ["ExternalIP"] }],
      removal: { policy: "sync" },
      targets: [{ kind: "memory", id: "one" }],
    },
    other: {
      from: [{ cluster: "us", nodes: {}, addresses: ["ExternalIP"] }],
      removal: { policy: "sync" },
      targets: [{ kind: "memory", id: "two" }],
    },
  },
};

test("webhook takes no list, target, port or bound from a message, wherever it stands", async () => {
  const room = receiver({ file: TWO_LISTS });
  const wishes = {
    bounds: ["0.0.0.0/0", "198.51.100.0/24"],
    lists: { other: { from: [{ cluster: "eu", nodes: {}, addresses: ["ExternalIP"] }] } },
    list: "other",
    target: "memory/two",
    targets: [{ kind: "memory", id: "two" }],
    permission: { protocol: "all" },
    static: ["198.51.100.66/32"],
    addresses: ["198.51.100.66"],
  };
  const event = JSON.parse(renderDelivery(snapshot([node("a", ["203.0.113.1"])])));
  const [first] = event.data.nodes;
  const nodes = [{ ...wishes, annotations: wishes, ...first }];
  const response = await postText(
    room,
    JSON.stringify({ ...wishes, ...event, data: { ...wishes, ...event.data, nodes } }),
  );
  assert.equal(response.statusCode, 200, response.body);
  await room.resync();
  assert.deepEqual(on(room), hosts(1));
  assert.deepEqual(on(room, "two"), []);
});

test("a node's labels and annotations bring no address onto a list, and choose no target", async () => {
  const room = receiver({ file: TWO_LISTS });
  const wishes = {
    "kube-allowlist.dev/address": "203.0.113.66",
    "kube-allowlist.dev/target": "memory.two",
    "alpha.kubernetes.io/provided-node-ip": "203.0.113.67",
    "flannel.alpha.coreos.com/public-ip": "203.0.113.68",
    "node.kubernetes.io/external-ip": "203.0.113.69",
  };
  const object = {
    metadata: { uid: "u", name: "a", labels: wishes, annotations: wishes },
    spec: { providerID: "aws:///203.0.113.70", podCIDR: "203.0.113.64/26" },
    status: { addresses: [{ type: "ExternalIP", address: "203.0.113.1" }] },
  };
  const labels = Object.keys(wishes).toSorted();
  const seen = projectNode(object, { labels, mark: null, held: new Map() });
  const scope = { labels, pods: [] };
  assert.equal((await room.deliver({ nodes: [seen.node], scope })).statusCode, 200);
  await room.resync();
  assert.deepEqual(on(room), hosts(1));
  assert.deepEqual(on(room, "two"), []);
});

// Everything, halves of it, this machine, link-local and metadata, multicast, mapped, and an
// attacker's.
const HOSTILE = [
  ...["0.0.0.0", "0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "255.255.255.255", "224.0.0.1"],
  ...["127.0.0.1", "169.254.169.254", "100.100.100.200", "192.168.0.1", "198.51.100.66"],
  ...["10.0.0.0/8", "10.64.0.0/10", "203.0.113.0/1", "2001:db8::/33", "169.254.0.0/28"],
  ...["::", "::/0", "::/1", "8000::/1", "::1", "fe80::1", "fd00:ec2::254", "ff02::1"],
  ...["::ffff:198.51.100.66", "::ffff:0.0.0.0/96", "64:ff9b::c633:6442", "2002:c633:6442::1"],
];

test("webhook writes nothing outside of the bounds, whatever a signed message holds", async () => {
  for (const { bounds, good } of [
    { bounds: { bounds: ["203.0.113.0/24"] }, good: "203.0.113.1" },
    { bounds: { bounds: ["10.0.0.0/8", "2001:db8::/32"] }, good: "10.0.0.1" },
    // What may never be written stays out of bounds that hold it, too.
    { bounds: { bounds: ["169.0.0.0/8"] }, good: "169.1.0.1" },
    { bounds: { bounds: ["public"], maxEntries: 10 }, good: "9.9.9.9" },
  ]) {
    const auth = { signature: { keys: ["env:EU_KEY"] } };
    const { db } = TWO_LISTS.lists;
    const addresses = ["ExternalIP", "InternalIP", "podCidrs"];
    const lists = { db: { ...db, from: [{ cluster: "eu", nodes: {}, addresses }] } };
    const isPublic = bounds.bounds[0] === "public";
    const hostile = isPublic ? HOSTILE.filter((text) => !text.includes("198.51")) : HOSTILE;
    for (const text of [...hostile, ...(isPublic ? ["10.0.0.1", "9.9.9.0/24"] : [])]) {
      const room = receiver({ file: { clusters: { eu: { auth, ...bounds } }, lists } });
      const event = JSON.parse(renderDelivery(snapshot([node("a", [good])])));
      const [honest] = event.data.nodes;
      const evil = { uid: "evil", name: "evil", labels: {}, addresses: [], podCidrs: [] };
      const addresses = ["ExternalIP", "InternalIP"].map((type) => ({ type, address: text }));
      for (const lie of [{ addresses }, { podCidrs: [text] }]) {
        event.data.nodes = [honest, { ...evil, ...lie }];
        event.data.generation.sequence += 1;
        const { epoch, sequence } = event.data.generation;
        event.id = `eu/${epoch}/${sequence}`;
        event.sequence = `${epoch}`.padStart(10, "0") + `${sequence}`.padStart(10, "0");
        const { statusCode, body } = await postText(room, JSON.stringify(event));
        assert(statusCode === 200 || statusCode === 422, body);
        await room.resync();
        const there = on(room);
        const wrong = there.filter((one) => one !== `${good}/32`);
        assert.deepEqual(wrong, [], `${bounds.bounds}: ${text}`);
        if (statusCode === 200) assert.equal(there.length, 1, `${text} harms no other`);
      }
    }
  }
});

test(
  "a flood of nodes within the bounds fills no more than maxEntries, and pushes nobody out",
  LIMIT,
  async () => {
    const auth = { signature: { keys: ["env:EU_KEY"] } };
    const clusters = { eu: { auth, bounds: ["10.0.0.0/8"], maxEntries: 50 } };
    const room = receiver({ file: { clusters } });
    const good = ["10.9.0.1", "10.9.0.3"].map((address, index) => node(`good-${index}`, [address]));
    assert.equal((await room.deliver({ nodes: good })).statusCode, 200);
    const flood = Array.from({ length: 2_000 }, (_, index) =>
      node(`a-${index}`, [`10.0.${index >> 7}.${2 * (index & 127) + 1}`]),
    );
    await live(room, 10, () => [[{ nodes: [...flood, ...good] }, EU]]);
    assert.equal(on(room).length, 50);
    for (const cidr of cidrs("10.9.0.1/32", "10.9.0.3/32")) assert(on(room).includes(cidr), cidr);
  },
);

const SHARED = {
  clusters: {
    eu: { auth: { signature: { keys: ["env:EU_KEY"] } }, bounds: ["203.0.113.0/24"] },
    us: { auth: { signature: { keys: ["env:US_KEY"] } }, bounds: ["203.0.113.0/24"] },
  },
  lists: {
    db: {
      from: ["eu", "us"].map((cluster) => ({ cluster, nodes: {}, addresses: ["ExternalIP"] })),
      removal: { policy: "sync", maxRatio: 1, minRemaining: 1 },
      targets: [{ kind: "memory", id: "one" }],
    },
  },
};

test("a cluster neither removes another's entries from a shared list, nor speaks under its name", async () => {
  const room = receiver({ file: SHARED });
  const eu = { nodes: [node("a", ["203.0.113.1"]), node("b", ["203.0.113.2"])] };
  const own = node("z", ["203.0.113.9"]);
  const there = cidrs("203.0.113.1", "203.0.113.2", "203.0.113.9");
  // It claims what the other has, then drops it: the list keeps it as long as the other says so.
  await live(room, 30, (minute) => [
    [eu, EU],
    [{ cluster: "us", clusterUid: "uid-us", nodes: minute < 5 ? [...eu.nodes, own] : [own] }, US],
  ]);
  assert.deepEqual(on(room), there);
  for (const stolen of [{ nodes: [] }, { nodes: [], clusterUid: "uid-us" }]) {
    const { statusCode } = await room.deliver({ ...stolen, cluster: "eu" }, US);
    assert.equal(statusCode, 403);
  }
  await live(room, 10, () => [[eu, EU]]);
  assert.deepEqual(on(room), there);
});

test(
  "a cluster that loses all nodes, at once or one a minute, keeps entries until somebody looks",
  LIMIT,
  async () => {
    const all = hosts(20).map((host, index) => node(`n${index}`, [host.replace("/32", "")]));
    const gone = receiver();
    await live(gone, 1, () => [[{ nodes: all }, EU]]);
    await live(gone, 120, () => [[{ nodes: [] }, EU]]);
    assert.deepEqual(on(gone), hosts(20), "nothing goes at once");
    const [report] = (await gone.resync()).lists;
    assert.deepEqual([report?.state, report?.reason], ["withheld", "ratio"]);
    const creeping = receiver();
    await live(creeping, 1, () => [[{ nodes: all }, EU]]);
    await live(creeping, 50, (minute) => [[{ nodes: all.slice(0, Math.max(0, 19 - minute)) }, EU]]);
    assert(on(creeping).length >= 14, `${on(creeping).length} are left`);
  },
);
