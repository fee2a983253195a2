import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Ec2Error } from "../../cli/embedded/ec2-error.ts";
import { familyOf, parseCidr, prefixLengthOf } from "../../lib/core/cidr.ts";
import { type FaultPlan, faultPlan } from "./ec2-faults.ts";

/** An IP set as WAF keeps it. */
export interface WafSet {
  readonly name: string;
  readonly id: string;
  readonly scope: "REGIONAL" | "CLOUDFRONT";
  readonly version: "IPV4" | "IPV6";
  readonly description: string | null;
  readonly addresses: readonly string[];
  readonly lockToken: string;
}

export type WafOperation = "get" | "update";

export interface FakeWaf extends FaultPlan<WafOperation> {
  readonly url: string;
  /** Region and body of every request, in order. */
  readonly requests: readonly { readonly region: string; readonly body: unknown }[];
  /** What every update made of the list, as asked: more or fewer addresses. */
  readonly updates: readonly ("add" | "remove")[];
  set(): WafSet | null;
  /** Somebody else's hand: another content, and with it another token. */
  write(change: Partial<Omit<WafSet, "lockToken">>): void;
  close(): Promise<void>;
}

// WAF's error codes are names of exceptions, with status 400 unless it is WAF's own fault.
const NOT_THERE = "WAFNonexistentItemException";
const WRONG = "WAFInvalidParameterException";

/** One set, or none, and everything it ever was; newest first. */
interface History {
  versions: readonly WafSet[];
  /** How many of the newest writes a read does not show. */
  lag: number;
}

/**
 * As much of WAF (wafv2) as the product calls: one set, or none. As strict as WAF: whole lists with
 * a token, one family, no /0, an update without a description clears it.
 */
export async function startFakeWaf(options: {
  readonly set: Partial<WafSet> | null;
  readonly addressesMax?: number;
  readonly secret?: string;
}): Promise<FakeWaf> {
  const { addressesMax = 10_000, secret = "" } = options;
  const history: History = { versions: options.set === null ? [] : [newSet(options.set)], lag: 0 };
  const { call, ...plan } = faultPlan<WafOperation>(["get", "update"], {
    secret,
    lagging(writes, read) {
      history.lag = writes;
      try {
        return read();
      } finally {
        history.lag = 0;
      }
    },
  });
  const requests: { region: string; body: unknown }[] = [];
  const updates: ("add" | "remove")[] = [];
  const server = createServer((request, response) => {
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    const credential = /Credential=[^/]*\/\d{8}\/([^/]+)\//.exec(
      request.headers.authorization ?? "",
    );
    const operation = String(request.headers["x-amz-target"]).replace("AWSWAF_20190729.", "");
    answer(request, response, (input) => {
      requests.push({ region: credential?.[1] ?? "", body: input });
      const act = { input, halve: () => input };
      if (operation === "GetIPSet") {
        return call("get", gone.signal, { ...act, whole: () => shownOf(found(history, input)) });
      }
      if (operation !== "UpdateIPSet") throw new Ec2Error(WRONG, operation);
      const before = history.versions[0]?.addresses.length ?? 0;
      updates.push((input.Addresses as unknown[]).length < before ? "remove" : "add");
      const whole = () => update(history, input, addressesMax);
      return call("update", gone.signal, { ...act, whole });
    }).catch(() => request.socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    ...plan,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    updates,
    set: () => history.versions[0] ?? null,
    write: (change) => write(history, { ...(history.versions[0] ?? newSet({})), ...change }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function write(history: History, set: WafSet): void {
  history.versions = [{ ...set, lockToken: randomUUID() }, ...history.versions].slice(0, 16);
}

function found({ versions, lag }: History, { Name, Id, Scope }: Json): WafSet {
  const set = versions[Math.min(lag, versions.length - 1)];
  const { name, id, scope } = set ?? {};
  if (set !== undefined && name === Name && id === Id && scope === Scope) return set;
  throw new Ec2Error(NOT_THERE, "AWS WAF couldn't perform the operation");
}

function update(history: History, input: Json, addressesMax: number) {
  const { Addresses, Description, LockToken } = input;
  const addresses = Addresses as readonly string[];
  const set = found(history, input);
  if (LockToken !== set.lockToken) {
    throw new Ec2Error("WAFOptimisticLockException", "AWS WAF couldn't save your changes");
  }
  refuseAddresses(addresses, { set, addressesMax });
  if (Description === "") throw new Ec2Error(WRONG, "Description is too short");
  write(history, {
    ...set,
    addresses,
    description: typeof Description === "string" ? Description : null,
  });
  return { NextLockToken: history.versions[0]?.lockToken };
}

type Json = Readonly<Record<string, unknown>>;

function newSet(given: Partial<WafSet>): WafSet {
  return {
    name: "nodes",
    id: "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
    scope: "REGIONAL",
    version: "IPV4",
    description: "who may",
    addresses: [],
    lockToken: randomUUID(),
    ...given,
  };
}

function shownOf(set: WafSet) {
  const { name, id, version, description, addresses, lockToken } = set;
  const IPSet = {
    Name: name,
    Id: id,
    ARN: `arn:aws:wafv2:eu-west-1:000000000000:regional/ipset/${name}/${id}`,
    IPAddressVersion: version,
    Addresses: addresses,
    ...(description === null ? {} : { Description: description }),
  };
  return { IPSet, LockToken: lockToken };
}

function refuseAddresses(
  addresses: readonly string[],
  { set, addressesMax }: { readonly set: WafSet; readonly addressesMax: number },
): void {
  for (const text of addresses) {
    const cidr = text.includes("/") ? parseCidr(text) : null;
    const fits = cidr !== null && familyOf(cidr) === set.version.toLowerCase();
    if (!fits || prefixLengthOf(cidr) === 0) throw new Ec2Error(WRONG, `IP_ADDRESS ${text}`);
  }
  if (new Set(addresses).size < addresses.length) throw new Ec2Error(WRONG, "IP_ADDRESS twice");
  if (addresses.length <= addressesMax) return;
  throw new Ec2Error("WAFLimitsExceededException", "You exceeded your resource limit");
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  act: (body: Json) => Promise<unknown>,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const type = { "content-type": "application/x-amz-json-1.1" };
  try {
    const body = await act(JSON.parse(Buffer.concat(chunks).toString()));
    response.writeHead(200, type).end(JSON.stringify(body));
  } catch (error) {
    const refusal = error instanceof Ec2Error ? error : null;
    if (refusal?.status === null) {
      request.socket.destroy();
      return;
    }
    const retryAfterS = refusal?.retryAfterS ?? null;
    const headers = retryAfterS === null ? {} : { "retry-after": String(retryAfterS) };
    response
      .writeHead(refusal?.status ?? 500, { ...type, ...headers })
      .end(JSON.stringify({ __type: refusal?.code ?? "Bug", message: refusal?.message }));
  }
}
