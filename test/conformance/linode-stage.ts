import {
  type LinodeCloud,
  type LinodeDatabase,
  type LinodeRule,
  linodeCloud,
  startEmbeddedLinode,
} from "../../cli/embedded/linode.ts";
import { type Cidr, parseCidr } from "../../lib/core/cidr.ts";
import { FOREIGN, RACER } from "./play.ts";
import { QUOTED, type RestScene, refusals, restStage } from "./rest-stage.ts";
import type { Stage, StageOptions } from "./target.ts";

const FIREWALL = 4711;
const DATABASE = { engine: "postgresql", id: 123 } as const;
const TOKEN = "canary-of-the-token";
const COMMON = {
  env: { LINODE_TOKEN: TOKEN },
  spec: "linode-firewall-db.json",
};

function bodyOf(): unknown {
  return { errors: [{ field: QUOTED, reason: `It was ${QUOTED}` }] };
}

const REFUSALS = refusals(bodyOf, {
  status: 400,
  body: { errors: [{ reason: "Linode busy." }, { reason: QUOTED }] },
});

/** Somebody's hands on the firewall. */
function firewallHands(cloud: LinodeCloud): RestScene["hands"] {
  const rules = () => cloud.rules(FIREWALL);
  const inbound = () => rules()?.inbound ?? [];
  const write = (change: { inbound?: readonly LinodeRule[]; outbound?: readonly LinodeRule[] }) => {
    cloud.setRules(FIREWALL, { ...(rules() ?? EMPTY), ...change });
  };
  return {
    shown: (text) => text || null,
    lines() {
      const { version: _version, inbound = [], outbound = [], ...policies } = rules() ?? {};
      const all = [...inbound, ...outbound].map((one) => JSON.stringify(one));
      return all.length === 0 ? all : [...all, JSON.stringify(policies)];
    },
    put(address, text) {
      const { description: _description, label, ...accept } = rule("");
      const addresses = { [address.includes(":") ? "ipv6" : "ipv4"]: [address] };
      // The API takes no empty description, and shows the label where there is none.
      const described = text ? { label, description: text } : {};
      write({ inbound: [...inbound(), { ...accept, ...described, addresses }] });
    },
    drop(cidr: Cidr) {
      const changed = inbound().map((one) => withoutCidr(one, cidr));
      write({ inbound: changed.filter((one) => one !== null) });
    },
    surround() {
      const addresses = { ipv4: ["192.0.2.1/32"] };
      write({
        inbound: [
          { ...rule("other port"), ports: "5433", addresses },
          { ...rule("more ports"), ports: "5432, 6432", addresses },
          { ...rule("a range"), ports: "5432-5433", addresses },
          { ...rule("udp"), protocol: "UDP", addresses },
          { ruleset: 9 },
          { ...rule("all"), protocol: "ALL", ports: null, addresses },
          ...inbound(),
          { ...rule("drop after"), action: "DROP", ports: "22", addresses },
        ],
        outbound: [{ ...rule("outbound"), addresses }, { ruleset: 10 }],
      });
    },
  };
}

/** The target as the product makes it, against the embedded endpoint. */
export function firewallStage(options: StageOptions): Promise<Stage> {
  const cloud = linodeCloud({ firewalls: options.missing ? [] : [FIREWALL] });
  const hands = firewallHands(cloud);
  return restStage({
    ...COMMON,
    kind: "linode/firewall",
    settings: { id: FIREWALL, permission: { protocol: "tcp", port: 5432 } },
    limit: options.limit ?? options.quota,
    backend: {
      handle: cloud.handle,
      refusals: REFUSALS,
      snapshot() {
        const held = cloud.rules(FIREWALL);
        return () => {
          if (held !== null) cloud.setRules(FIREWALL, held, held.version);
        };
      },
      halve: (request) => request,
      race: () => hands.put(RACER, FOREIGN),
    },
    serve: ({ handle }) => startEmbeddedLinode({ handle, tokens: [TOKEN] }),
    hands,
  });
}

const EMPTY = {
  inbound: [],
  outbound: [],
  inbound_policy: "DROP",
  outbound_policy: "ACCEPT",
} as const;

function rule(description: string): LinodeRule {
  return { action: "ACCEPT", protocol: "TCP", ports: "5432", label: "by-hand", description };
}

/** Null where nothing would be left of it. */
function withoutCidr(one: LinodeRule, cidr: Cidr): LinodeRule | null {
  if (one.ports !== "5432") return one;
  const lists = Object.entries(one.addresses as Record<string, readonly string[]>)
    .map(([family, texts]) => [family, texts.filter((text) => parseCidr(text) !== cidr)] as const)
    .filter(([, texts]) => texts.length > 0);
  return lists.length === 0 ? null : { ...one, addresses: Object.fromEntries(lists) };
}

export function databaseStage(options: StageOptions): Promise<Stage> {
  const start: LinodeDatabase = { ...DATABASE, status: "active", allow_list: [] };
  const cloud = linodeCloud({ databases: options.missing ? [] : [start] });
  const held = () => cloud.database(DATABASE.engine, DATABASE.id);
  const entries = () => held()?.allow_list ?? [];
  const set = (allow_list: readonly string[]) => cloud.setDatabase({ ...start, allow_list });
  return restStage({
    ...COMMON,
    kind: "linode/database",
    settings: { ...DATABASE, exclusive: true },
    limit: options.limit ?? options.quota,
    backend: {
      handle: cloud.handle,
      refusals: REFUSALS,
      snapshot() {
        const before = held();
        return () => {
          if (before !== null) cloud.setDatabase(before);
        };
      },
      halve: (request) => request,
      race: () => set([...entries(), RACER]),
    },
    serve: ({ handle }) => startEmbeddedLinode({ handle, tokens: [TOKEN] }),
    hands: {
      shown: () => null,
      lines: entries,
      put: (address) => set([...entries(), address]),
      drop: (cidr) => set(entries().filter((text) => parseCidr(text) !== cidr)),
      surround() {
        cloud.setDatabase({ ...start, id: DATABASE.id + 1, allow_list: ["192.0.2.1/32"] });
        cloud.setDatabase({ ...start, engine: "mysql", allow_list: ["192.0.2.1/32"] });
      },
    },
  });
}
