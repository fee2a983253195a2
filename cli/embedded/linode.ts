import { createHash } from "node:crypto";
import * as z from "zod/mini";
import { parseCidr } from "../../lib/core/cidr.ts";
import { type JsonAnswer, type JsonHandler, type JsonRequest, serveJson } from "./json-server.ts";

/** The rules of a firewall, in the words of the API. */
export interface LinodeRules {
  readonly inbound: readonly LinodeRule[];
  readonly outbound: readonly LinodeRule[];
  readonly inbound_policy: "ACCEPT" | "DROP";
  readonly outbound_policy: "ACCEPT" | "DROP";
}

/** As it was written: whatever it holds is shown again. */
export type LinodeRule = Readonly<Record<string, unknown>>;

export interface LinodeDatabase {
  readonly engine: "mysql" | "postgresql";
  readonly id: number;
  /** Only an `active` one takes writes. */
  readonly status: string;
  readonly allow_list: readonly string[];
}

/** Firewalls and databases in memory, strict where Linode is. */
export interface LinodeCloud {
  /** Everything after the version in the path. */
  readonly handle: JsonHandler;
  /** What stands on a firewall now; null where there is none. */
  rules(id: number): (LinodeRules & { readonly version: number }) | null;
  database(engine: LinodeDatabase["engine"], id: number): LinodeDatabase | null;
  /**
   * Somebody else's hand: replaces the rules, unchecked, as one more version or as the one given.
   */
  setRules(id: number, rules: LinodeRules, version?: number): void;
  setDatabase(database: LinodeDatabase): void;
  /** While a Linode of the firewall is on its way to another host. */
  setBusy(id: number, busy: boolean): void;
}

const RULES_MAX = 25;
const ADDRESSES_MAX = 255;
const PORT_PIECES_MAX = 15;
const PORT_MAX = 65_535;
const STARTING_RULES: LinodeRules = {
  inbound: [],
  outbound: [],
  inbound_policy: "DROP",
  outbound_policy: "ACCEPT",
};

const network = z
  .string()
  .check(
    z.refine(
      (text) => text.startsWith("pl:") || (text.includes("/") && parseCidr(text) !== null),
      "Must be in IP/mask format, or the name of a prefix list",
    ),
  );
const networks = z.optional(z.array(network).check(z.minLength(1, "Must not be an empty list")));
const text = (min: number, max: number) =>
  z.nullish(z.string().check(z.minLength(min), z.maxLength(max)));
const rule = z
  .strictObject({
    action: z.enum(["ACCEPT", "DROP"]),
    protocol: z.enum(["TCP", "UDP", "ICMP", "IPENCAP", "ALL"]),
    ports: z.nullish(z.string().check(z.refine(isPorts, "Must be ports"))),
    addresses: z.strictObject({ ipv4: networks, ipv6: networks }),
    label: text(3, 32),
    description: text(1, 100),
  })
  .check(
    z.refine(
      ({ protocol, ports }) => !ports || ["TCP", "UDP"].includes(protocol),
      "Ports are only allowed for TCP and UDP",
    ),
    z.refine(({ addresses: { ipv4 = [], ipv6 = [] } }) => {
      const count = ipv4.length + ipv6.length;
      return count >= 1 && count <= ADDRESSES_MAX;
    }, `Must have 1 to ${ADDRESSES_MAX} addresses`),
  );
const ruleOrSet = z.union([rule, z.strictObject({ ruleset: z.int() })]);
const policy = z.enum(["ACCEPT", "DROP"]);
// Version and fingerprint are read-only: unknown members are refused, and so are they.
const rulesBody = z
  .strictObject({
    inbound: z.array(ruleOrSet),
    outbound: z.array(ruleOrSet),
    inbound_policy: policy,
    outbound_policy: policy,
  })
  .check(
    z.refine(
      ({ inbound, outbound }) => inbound.length + outbound.length <= RULES_MAX,
      `Must not have more than ${RULES_MAX} rules`,
    ),
  );
const databaseBody = z.strictObject({
  allow_list: z.array(
    z.string().check(z.refine((entry) => /^[0-9./]+$/.test(entry) && parseCidr(entry) !== null)),
  ),
});

interface Firewall {
  readonly rules: LinodeRules;
  readonly version: number;
  readonly isBusy: boolean;
}

export function linodeCloud(start: {
  readonly firewalls?: readonly number[];
  readonly databases?: readonly LinodeDatabase[];
}): LinodeCloud {
  const firewalls = new Map<number, Firewall>();
  for (const id of start.firewalls ?? []) {
    firewalls.set(id, { rules: STARTING_RULES, version: 1, isBusy: false });
  }
  const keyOf = (engine: string, id: number) => `${engine}/${id}`;
  const databases = new Map((start.databases ?? []).map((one) => [keyOf(one.engine, one.id), one]));
  return {
    handle(request) {
      const [first, second, third, last] = request.path.slice(1);
      if (first === "networking" && second === "firewalls" && last === "rules") {
        return answerRules(request, firewalls, Number(third));
      }
      if (first === "databases" && third === "instances") {
        return answerDatabase(request, databases, keyOf(second ?? "", Number(last)));
      }
      return notFound();
    },
    rules(id) {
      const firewall = firewalls.get(id);
      return firewall ? { ...firewall.rules, version: firewall.version } : null;
    },
    database: (engine, id) => databases.get(keyOf(engine, id)) ?? null,
    setRules(id, { inbound, outbound, inbound_policy, outbound_policy }, version) {
      const before = firewalls.get(id) ?? { version: 0, isBusy: false };
      const rules = { inbound, outbound, inbound_policy, outbound_policy };
      firewalls.set(id, { ...before, rules, version: version ?? before.version + 1 });
    },
    setDatabase: (one) => databases.set(keyOf(one.engine, one.id), one),
    setBusy(id, isBusy) {
      const firewall = firewalls.get(id);
      if (firewall) firewalls.set(id, { ...firewall, isBusy });
    },
  };
}

function answerRules(
  { method, body }: JsonRequest,
  firewalls: Map<number, Firewall>,
  id: number,
): JsonAnswer {
  const firewall = firewalls.get(id);
  if (firewall === undefined) return notFound();
  if (method === "GET") return { status: 200, body: shown(firewall) };
  if (method !== "PUT") return refusal(405, "Method Not Allowed");
  const { error } = rulesBody.safeParse(body);
  if (error) return invalid(error);
  if (firewall.isBusy) return refusal(400, "Linode busy.");
  const changed = { ...firewall, rules: body as LinodeRules, version: firewall.version + 1 };
  firewalls.set(id, changed);
  return { status: 200, body: shown(changed) };
}

function shown({ rules, version }: Firewall) {
  const fingerprint = createHash("sha256").update(JSON.stringify(rules)).digest("hex").slice(0, 8);
  return { ...rules, version, fingerprint };
}

function answerDatabase(
  { method, body }: JsonRequest,
  databases: Map<string, LinodeDatabase>,
  key: string,
): JsonAnswer {
  const database = databases.get(key);
  if (database === undefined) return notFound();
  if (method === "GET") return { status: 200, body: database };
  if (method !== "PUT") return refusal(405, "Method Not Allowed");
  const { error } = databaseBody.safeParse(body);
  if (error) return invalid(error);
  if (database.status !== "active") return refusal(400, "Database must have an active status.");
  const changed = { ...database, ...(body as Pick<LinodeDatabase, "allow_list">) };
  databases.set(key, changed);
  return { status: 200, body: changed };
}

/** `22, 80-90`: each from 1, no leading zeroes, the end of a range after its start. */
function isPorts(ports: string): boolean {
  const pieces = ports.split(/, ?/).map((piece) => piece.split("-"));
  const isPort = (port: string) => /^[1-9][0-9]{0,4}$/.test(port) && Number(port) <= PORT_MAX;
  return (
    pieces.flat().length <= PORT_PIECES_MAX &&
    pieces.flat().every(isPort) &&
    pieces.every(([first, last]) => last === undefined || Number(last) > Number(first)) &&
    pieces.every((piece) => piece.length <= 2)
  );
}

function notFound(): JsonAnswer {
  return refusal(404, "Not found");
}

function invalid(error: z.core.$ZodError): JsonAnswer {
  const errors = error.issues.map(({ path, message }) => ({
    field: path.join("."),
    reason: message,
  }));
  return { status: 400, body: { errors } };
}

function refusal(status: number, reason: string): JsonAnswer {
  return { status, body: { errors: [{ reason }] } };
}

export interface EmbeddedLinode {
  /** An endpoint for any client of the API, with its version. */
  readonly url: string;
  close(): Promise<void>;
}

/**
 * As much of the Linode API as the product calls, over HTTP on this machine. For demonstrations and
 * tests. Believes anybody, or only those with one of `tokens`.
 */
export async function startEmbeddedLinode(options: {
  readonly handle: JsonHandler;
  readonly tokens?: readonly string[];
  readonly host?: string;
  readonly port?: number;
}): Promise<EmbeddedLinode> {
  const { handle, tokens } = options;
  const headers = tokens?.map((token) => `Bearer ${token}`);
  const server = await serveJson((request, signal) => {
    const isKnown = headers?.includes(request.authorization ?? "") ?? true;
    return isKnown ? handle(request, signal) : refusal(401, "Invalid Token");
  }, options);
  return { url: `${server.url}/v4`, close: server.close };
}
