import * as z from "zod/mini";
import type { World } from "../world.ts";
import { type Failure, openRest, type Rest, readAs } from "./rest.ts";

/** One rule of a Cloud Firewall. */
export interface FirewallRule {
  /** As Linode wrote it, members that nobody here knows included: so it goes back. */
  readonly raw: Readonly<Record<string, unknown>>;
  /** Null for a reference to a rule set, whose contents are kept elsewhere. */
  readonly match: FirewallMatch | null;
}

export interface FirewallMatch {
  readonly action: "ACCEPT" | "DROP";
  /** `TCP`, `UDP`, `ICMP`, `IPENCAP`, `ALL`, or what is yet to come. */
  readonly protocol: string;
  /** Like `22, 80-90`; null for all ports, and where the protocol has none. */
  readonly ports: string | null;
  /** Of both families, as written; null where the rule names none. */
  readonly addresses: readonly string[] | null;
  readonly label: string | null;
  readonly description: string | null;
}

type FirewallPolicy = "ACCEPT" | "DROP";

/** Everything that one write replaces. */
export interface FirewallRules {
  /** In order: the first rule that matches wins. */
  readonly inbound: readonly FirewallRule[];
  readonly outbound: readonly FirewallRule[];
  readonly inboundPolicy: FirewallPolicy;
  readonly outboundPolicy: FirewallPolicy;
}

export interface FirewallState extends FirewallRules {
  /** One more after each change, whoever made it. It can be read, and not be asked for. */
  readonly version: number;
}

/**
 * The two calls that a firewall needs. Each makes one attempt, honours its signal, takes at most
 * {@link CALL_MS_MAX} and rejects only with CloudError.
 */
export interface FirewallClient {
  read(id: number, signal: AbortSignal): Promise<FirewallState>;
  /** Replaces the rules of both directions, and gives what is there then. */
  write(id: number, rules: FirewallRules, signal: AbortSignal): Promise<FirewallState>;
}

export interface DatabaseId {
  readonly engine: "mysql" | "postgresql";
  readonly id: number;
}

export interface DatabaseState {
  /** `active`, `updating` and others. */
  readonly status: string;
  /** As written: addresses and networks. */
  readonly allowList: readonly string[];
}

/** As {@link FirewallClient}, for a managed database. */
export interface DatabaseClient {
  read(database: DatabaseId, signal: AbortSignal): Promise<DatabaseState>;
  /** Replaces the whole list, and gives what is there then. */
  write(
    database: DatabaseId,
    allowList: readonly string[],
    signal: AbortSignal,
  ): Promise<DatabaseState>;
}

export interface LinodeConnection {
  /** With the version of the API. */
  readonly endpoint: string;
  readonly token: string;
}

/** A write is a read and this: both fit into the time of one call to a target. */
const CALL_MS_MAX = 4_000;

const POLICY = z.enum(["ACCEPT", "DROP"]);
const ADDRESSES = z.nullish(z.array(z.string()));
const RULE = z.looseObject({
  action: POLICY,
  protocol: z.string(),
  ports: z.nullish(z.string()),
  addresses: z.nullish(z.looseObject({ ipv4: ADDRESSES, ipv6: ADDRESSES })),
  label: z.nullish(z.string()),
  description: z.nullish(z.string()),
});
const RULE_SET = z.looseObject({ ruleset: z.int(), action: z.optional(z.undefined()) });
// Not copied, so that not even the order of its members changes on the way back.
const RAW = z.custom<Readonly<Record<string, unknown>>>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
);
const RULES = z.looseObject({
  inbound: z.array(RAW),
  outbound: z.array(RAW),
  inbound_policy: POLICY,
  outbound_policy: POLICY,
  version: z.int(),
});
const DATABASE = z.looseObject({ status: z.string(), allow_list: z.array(z.string()) });
const ERRORS = z.looseObject({ errors: z.array(z.looseObject({ reason: z.string() })) });
// "Linode busy." is what linodego repeats a call for; a firewall waits for its Linodes'
// migrations, a database for its own state (descriptions of the two PUT operations).
const BUSY = /^linode busy\b|\bmigrat|\bmust (?:be|have an?) active\b|\bnot active\b/i;

/** The API has one code for everything that is wrong with a request: reasons are for people. */
function failureOf({ status, body }: { readonly status: number; readonly body: unknown }) {
  const { errors } = ERRORS.safeParse(body).data ?? { errors: [] };
  const isBusy = errors.some(({ reason }) => BUSY.test(reason));
  if (status === 400 && isBusy) return { kind: "busy", code: "Busy" } satisfies Failure;
  if (status === 404) return { kind: "missing", code: "NotFound" } satisfies Failure;
  return null;
}

function openLinode({ endpoint, token }: LinodeConnection, world: World): Rest {
  const headers = { authorization: `Bearer ${token}` };
  return openRest({
    baseUrl: endpoint,
    credentials: { headers: async () => headers, forget: () => undefined },
    world,
    callMs: CALL_MS_MAX,
    failureOf,
  });
}

/** Connects to nothing yet. */
export function openFirewalls(
  connection: LinodeConnection,
  { world }: { readonly world: World },
): FirewallClient {
  const rest = openLinode(connection, world);
  const pathOf = (id: number) => ["networking", "firewalls", String(id), "rules"];
  return {
    async read(id, signal) {
      const operation = "get-firewall-rules";
      const answer = await rest.call({ method: "GET", path: pathOf(id), operation }, signal);
      const state = stateOf(answer, operation);
      if (state.inboundPolicy === "ACCEPT") warnOnce(world, id);
      return state;
    },
    async write(id, rules, signal) {
      const operation = "put-firewall-rules";
      const body = {
        inbound: rules.inbound.map(({ raw }) => raw),
        outbound: rules.outbound.map(({ raw }) => raw),
        inbound_policy: rules.inboundPolicy,
        outbound_policy: rules.outboundPolicy,
      };
      const answer = await rest.call({ method: "PUT", path: pathOf(id), body, operation }, signal);
      return stateOf(answer, operation);
    },
  };
}

// By world, so that a process says it once.
const warned = new WeakMap<World, Set<number>>();

/**
 * Said and not refused: under this policy a list can be filled before the policy is turned, so that
 * nobody is cut off by turning it.
 */
function warnOnce(world: World, firewall: number): void {
  const known = warned.get(world) ?? new Set();
  warned.set(world, known);
  if (known.has(firewall)) return;
  known.add(firewall);
  const message =
    "The inbound policy of this Linode firewall is ACCEPT, so it lets everybody in whatever is " +
    "listed; set it to DROP";
  world.log.warn({ firewall }, message);
}

function stateOf(answer: unknown, operation: string): FirewallState {
  const rules = readAs(RULES, answer, operation);
  return {
    version: rules.version,
    inbound: rules.inbound.map((raw) => firewallRule(raw, operation)),
    outbound: rules.outbound.map((raw) => firewallRule(raw, operation)),
    inboundPolicy: rules.inbound_policy,
    outboundPolicy: rules.outbound_policy,
  };
}

function firewallRule(raw: Readonly<Record<string, unknown>>, operation: string): FirewallRule {
  if (RULE_SET.safeParse(raw).success) return { raw, match: null };
  const { action, protocol, ports, addresses, label, description } = readAs(RULE, raw, operation);
  return {
    raw,
    match: {
      action,
      protocol,
      ports: ports ?? null,
      addresses: addresses ? [...(addresses.ipv4 ?? []), ...(addresses.ipv6 ?? [])] : null,
      label: label ?? null,
      description: description ?? null,
    },
  };
}

/** Connects to nothing yet. */
export function openDatabases(
  connection: LinodeConnection,
  { world }: { readonly world: World },
): DatabaseClient {
  const rest = openLinode(connection, world);
  const pathOf = ({ engine, id }: DatabaseId) => ["databases", engine, "instances", String(id)];
  return {
    async read(database, signal) {
      const operation = `get-databases-${database.engine}-instance`;
      const request = { method: "GET", path: pathOf(database), operation } as const;
      return databaseOf(await rest.call(request, signal), operation);
    },
    async write(database, allowList, signal) {
      const operation = `put-databases-${database.engine}-instance`;
      const body = { allow_list: allowList };
      const request = { method: "PUT", path: pathOf(database), body, operation } as const;
      return databaseOf(await rest.call(request, signal), operation);
    },
  };
}

function databaseOf(answer: unknown, operation: string): DatabaseState {
  const { status, allow_list } = readAs(DATABASE, answer, operation);
  return { status, allowList: allow_list };
}
