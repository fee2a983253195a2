import assert from "node:assert/strict";
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import RPCClient from "@alicloud/pop-core/lib/rpc.js";
import { type World, withTimeout } from "../../world.ts";
import { CloudError, kindOfStatus } from "../error.ts";
import type { Credentials } from "./environment.ts";
import { alibabaErrorOf, fieldsOf, UNREADABLE } from "./errors.ts";
import { plainOf } from "./json.ts";
import { type Product, STS } from "./products.ts";
import { type Session, sessionOf } from "./session.ts";

export interface AlibabaConnection {
  readonly region: string;
  /** Instead of the product's own for the region; null for that. */
  readonly endpoint: string | null;
  /** Where roles are assumed, instead of the region's own; null for that. */
  readonly stsEndpoint: string | null;
  /** Null for those of the environment, which is read at every call. */
  readonly credentials: Credentials | null;
  readonly role: { readonly arn: string; readonly externalId?: string | undefined } | null;
}

export interface AlibabaContext {
  readonly world: World;
  readonly env: Readonly<Record<string, string | undefined>>;
}

type Scalar = string | number | boolean;

/**
 * Parameters of a call by their names in the API reference, in PascalCase. Lists are numbered on
 * the wire (`Permissions.1.Policy`) and must not be empty: an empty one would be left out in
 * silence. Objects stand in lists only. A parameter that is undefined is left out.
 */
export type Params = Readonly<Record<string, Scalar | readonly Param[] | undefined>>;
type Param = Scalar | Readonly<Record<string, Scalar | readonly Scalar[] | undefined>>;

export interface RpcRequest {
  readonly product: Product;
  readonly action: string;
  readonly params: Params;
  /** The RAM action, where it is not `<code>:<action>`. */
  readonly operation?: string;
  /** Upper bound of this call, assuming a role included; {@link CALL_MS_MAX} unless told. */
  readonly timeoutMs?: number;
}

export interface Rpc {
  /**
   * One attempt of one action. The answer is the JSON as plain objects; its members are for the
   * caller to check. Rejects only with CloudError, as soon as the signal aborts or the time is
   * over; when it settles nothing of the call is left running.
   */
  call(request: RpcRequest, signal: AbortSignal): Promise<Readonly<Record<string, unknown>>>;
}

/** Upper bound of a call that does not say otherwise. */
export const CALL_MS_MAX = 5_000;

const AGENTS = {
  // No connection is kept: a function's instance is frozen between its runs, and a connection that
  // died meanwhile would fail a write whose one attempt must not be wasted.
  "http:": new HttpAgent({ keepAlive: false }),
  "https:": new HttpsAgent({ keepAlive: false }),
} as const;

// The SDK's own timers only stand behind ours: what it calls the time to connect is in truth the
// longest silence of a socket, and so must not be shorter than the call.
const BEHIND_MS = 1_000;

const SESSION_ENDED = new Set([
  "InvalidSecurityToken.Expired",
  "InvalidSecurityToken.Malformed",
  "InvalidSecurityToken.MismatchWithAccessKey",
  "InvalidAccessKeyId.NotFound",
  "InvalidAccessKeyId.Inactive",
]);

/** Connects to nothing yet. Sessions of one role are shared within a World. */
export function openRpc(connection: AlibabaConnection, context: AlibabaContext): Rpc {
  const { world } = context;
  const { region } = connection;
  const session = openSession(connection, context);
  return {
    call(request, signal) {
      const operation = operationOf(request);
      const { timeoutMs = CALL_MS_MAX } = request;
      const endpoint = connection.endpoint ?? request.product.endpoint(region);
      const reason = () => new CloudError("unavailable", "TimeoutError", { operation });
      return withTimeout(world, timeoutMs, { signal, reason }, async (inner) => {
        try {
          const credentials = await session.credentials(inner);
          const options = { endpoint, credentials, world, timeoutMs, signal: inner };
          return await attempt(request, options).catch((thrown) => {
            if (SESSION_ENDED.has(codeOf(thrown))) session.forget(credentials);
            throw thrown;
          });
        } catch (thrown) {
          // The SDK names every abort alike; ours knows that the time was over.
          if (inner.aborted && inner.reason instanceof CloudError) throw inner.reason;
          if (thrown instanceof CloudError || thrown instanceof assert.AssertionError) throw thrown;
          const error = alibabaErrorOf(thrown, { operation, now: world.now() });
          // The session is forgotten, and the next call gets another: nobody has to do anything.
          if (connection.role === null || !SESSION_ENDED.has(error.code)) throw error;
          throw new CloudError("unavailable", error.code, error);
        }
      });
    },
  };
}

/** Whose keys calls are signed with; asks for nothing yet. */
export function openSession(connection: AlibabaConnection, context: AlibabaContext): Session {
  const { world } = context;
  const endpoint = connection.stsEndpoint ?? STS.endpoint(connection.region);
  return sessionOf(connection, context, {
    assumeRole: (own, params, signal) => {
      const request = { product: STS, action: "AssumeRole", params };
      const options = { endpoint, credentials: own, world, timeoutMs: CALL_MS_MAX, signal };
      return attempt(request, options);
    },
  });
}

interface AttemptOptions {
  readonly endpoint: string;
  readonly credentials: Credentials;
  readonly world: World;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** What the SDK's types leave out: the provider of credentials and the answer with its status. */
type VerboseClient = new (
  config: {
    readonly endpoint: string;
    readonly apiVersion: string;
    readonly credentialsProvider: { getCredentials(): Promise<Credentials> };
  },
  verbose: true,
) => {
  request(action: string, params: object, options: object): Promise<unknown>;
};

/** One request, made and signed anew. Rejects only with CloudError, but for parameters of ours. */
async function attempt(
  request: RpcRequest,
  options: AttemptOptions,
): Promise<Readonly<Record<string, unknown>>> {
  const { product, action } = request;
  const { endpoint, credentials, world, signal } = options;
  const operation = operationOf(request);
  const params = paramsOf(request.params);
  const timeoutMs = options.timeoutMs + BEHIND_MS;
  try {
    signal.throwIfAborted();
    const client = new (RPCClient as unknown as VerboseClient)(
      {
        endpoint,
        apiVersion: product.version,
        credentialsProvider: { getCredentials: async () => credentials },
      },
      true,
    );
    const answer = await client.request(action, params, {
      // Exactly so: anything else puts the token and the signature into the address.
      method: "POST",
      agent: endpoint.startsWith("https:") ? AGENTS["https:"] : AGENTS["http:"],
      connectTimeout: timeoutMs,
      readTimeout: timeoutMs,
      // The SDK knows no signal, but lets us see what Node is asked: with it the request ends, and
      // its socket is closed, as soon as the signal aborts.
      beforeRequest: (asked: object) => ({ ...asked, signal }),
    });
    return answerOf(answer, operation);
  } catch (thrown) {
    if (thrown instanceof CloudError) throw thrown;
    throw alibabaErrorOf(thrown, { operation, now: world.now() });
  }
}

function operationOf({ product, action, operation }: RpcRequest): string {
  return operation ?? `${product.code}:${action}`;
}

function codeOf(thrown: unknown): string {
  return thrown instanceof CloudError ? thrown.code : "";
}

// Written by the SDK, which would let a parameter of that name take their place.
const RESERVED = new Set(["Action", "Version", "Format", "Timestamp", "AccessKeyId"]);
const PASCAL_CASE = /^[A-Z][A-Za-z0-9]*$/;

/** What goes to the SDK, which would write "undefined" and "[object Object]" without a word. */
function paramsOf(params: Params): Readonly<Record<string, unknown>> {
  const given = Object.entries(params).filter(([, value]) => value !== undefined);
  return Object.fromEntries(
    given.map(([name, value]) => {
      assertName(name);
      assert(!RESERVED.has(name) && !/^(Signature|SecurityToken)/.test(name), `${name} is taken`);
      return [name, Array.isArray(value) ? itemsOf(value, name) : scalarOf(value, name)];
    }),
  );
}

function itemsOf(items: readonly unknown[], name: string): readonly unknown[] {
  assert(items.length > 0, `${name} is empty and would be left out`);
  return items.map((item) => {
    if (typeof item !== "object" || item === null) return scalarOf(item, name);
    const members = Object.entries(item).filter(([, value]) => value !== undefined);
    assert(members.length > 0, `an item of ${name} is empty`);
    return Object.fromEntries(
      members.map(([member, value]) => {
        assertName(member);
        const where = `${name}.${member}`;
        if (!Array.isArray(value)) return [member, scalarOf(value, where)];
        assert(value.length > 0, `${where} is empty and would be left out`);
        return [member, value.map((one) => scalarOf(one, where))];
      }),
    );
  });
}

function assertName(name: string): void {
  assert(PASCAL_CASE.test(name), `${name} is no name in PascalCase`);
}

function scalarOf(value: unknown, name: string): Scalar {
  const isScalar =
    typeof value === "string" || typeof value === "boolean" || Number.isSafeInteger(value);
  assert(isScalar, `${name} is neither a text, an integer nor a boolean`);
  return value as Scalar;
}

/**
 * The SDK takes any JSON without a code for a success, whatever its status. A read that is not
 * understood whole is no read.
 */
function answerOf(answer: unknown, operation: string): Readonly<Record<string, unknown>> {
  const [json, entry] = Array.isArray(answer) ? answer : [];
  const { statusCode } = fieldsOf(fieldsOf(entry).response);
  const status = typeof statusCode === "number" ? statusCode : null;
  if (status === null || status < 200 || status > 299) {
    throw new CloudError(kindOfStatus(status), UNREADABLE, { operation, status });
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new CloudError("unavailable", UNREADABLE, { operation, status });
  }
  return plainOf(json) as Readonly<Record<string, unknown>>;
}
