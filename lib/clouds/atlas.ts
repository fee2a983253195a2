import * as z from "zod/mini";
import type { World } from "../world.ts";
import { CloudError } from "./error.ts";
import { type Credentials, type Failure, openRest, type Rest, readAs, readPages } from "./rest.ts";

/** One entry of a project's IP access list. */
export interface AccessEntry {
  /** What it is called when it is removed: its network, its address, or a group of AWS. */
  readonly value: string;
  /** Null for a security group of AWS. */
  readonly address: string | null;
  readonly comment: string | null;
  /** Atlas removes it by itself, at most a week after it was made. */
  readonly isTemporary: boolean;
}

/**
 * The three calls that an access list needs. Each makes one attempt, honours its signal and rejects
 * only with CloudError.
 */
export interface AccessListClient {
  list(project: string, signal: AbortSignal): Promise<readonly AccessEntry[]>;
  /** Silently takes the place of entries of the same networks. Not to be called concurrently. */
  add(
    project: string,
    entries: readonly { readonly cidr: string; readonly comment: string }[],
    signal: AbortSignal,
  ): Promise<void>;
  /** Of an entry that is gone it is done, too. */
  remove(project: string, value: string, signal: AbortSignal): Promise<void>;
}

export interface AtlasConnection {
  readonly endpoint: string;
  /** Of a service account. */
  readonly clientId: string;
  readonly clientSecret: string;
}

const CALL_MS_MAX = 5_000;
// The version of the API whose description these calls were written to.
const MEDIA_TYPE = "application/vnd.atlas.2023-01-01+json";
const PAGE_ENTRIES_MAX = 500;
const PAGES_MAX = 20;
const TOKEN_SPARE_MS = 60_000;

const ENTRY = z.looseObject({
  cidrBlock: z.nullish(z.string()),
  ipAddress: z.nullish(z.string()),
  awsSecurityGroup: z.nullish(z.string()),
  comment: z.nullish(z.string()),
  deleteAfterDate: z.nullish(z.string()),
});
const ENTRIES = z.looseObject({
  results: z.array(ENTRY),
  totalCount: z.int(),
  links: z.nullish(z.array(z.looseObject({ rel: z.nullish(z.string()) }))),
});
const TOKEN = z.looseObject({
  access_token: z.string().check(z.minLength(1)),
  expires_in: z.number(),
});
const ERROR = z.looseObject({ errorCode: z.string() });
const CODE = /^[A-Z][A-Z0-9_]{2,63}$/;
const ENTRY_GONE = "ATLAS_NETWORK_PERMISSION_ENTRY_NOT_FOUND";
// How many entries a project takes and what is said then is not published: a guess at the words
// that Atlas's codes of limits have in common.
const FULL = /^(?!RATE)(?:.*_)?(?:TOO_MANY|LIMIT|MAX|MAXIMUM|EXCEEDED|EXCEEDS)(?:_|$)/;

function failureOf({ status, body }: { readonly status: number; readonly body: unknown }) {
  const { errorCode = "" } = ERROR.safeParse(body).data ?? {};
  const code = CODE.test(errorCode) ? errorCode : "HttpError";
  const kinds: Readonly<Record<number, Failure["kind"]>> = {
    // The token has ended early; the next call gets another.
    401: "unavailable",
    404: "missing",
    409: "conflict",
  };
  const isFull = [400, 403, 409].includes(status) && FULL.test(code);
  const kind = isFull ? "full" : kinds[status];
  return kind === undefined ? null : ({ kind, code } satisfies Failure);
}

/** Connects to nothing yet. Tokens are shared within a World. */
export function openAccessLists(
  connection: AtlasConnection,
  { world }: { readonly world: World },
): AccessListClient {
  const rest = openRest({
    baseUrl: connection.endpoint,
    credentials: tokensOf(connection, world),
    world,
    callMs: CALL_MS_MAX,
    mediaType: MEDIA_TYPE,
    failureOf,
  });
  const pathOf = (project: string) => ["api", "atlas", "v2", "groups", project, "accessList"];
  return {
    list: (project, signal) => listEntries(rest, pathOf(project), signal),
    async add(project, entries, signal) {
      const operation = "createAccessListEntry";
      const body = entries.map(({ cidr, comment }) => ({ cidrBlock: cidr, comment }));
      const request = { method: "POST", path: pathOf(project), body, operation } as const;
      // Of the answer nothing is needed; that it is JSON says that Atlas gave it.
      await rest.call(request, signal);
    },
    async remove(project, value, signal) {
      const operation = "deleteAccessListEntry";
      const path = [...pathOf(project), value];
      try {
        await rest.call({ method: "DELETE", path, operation }, signal);
      } catch (error) {
        if (!(error instanceof CloudError) || error.code !== ENTRY_GONE) throw error;
      }
    },
  };
}

function listEntries(
  rest: Rest,
  path: readonly string[],
  signal: AbortSignal,
): Promise<readonly AccessEntry[]> {
  const operation = "listAccessListEntries";
  const options = { operation, pagesMax: PAGES_MAX };
  return readPages(async (pageNum) => {
    const query = { pageNum, itemsPerPage: PAGE_ENTRIES_MAX, includeCount: "true" };
    const answer = await rest.call({ method: "GET", path, query, operation }, signal);
    const { results, totalCount, links } = readAs(ENTRIES, answer, operation);
    return {
      items: results.map((entry) => entryOf(entry, operation)),
      // An estimate, says the API: more entries than it are taken, fewer are not believed.
      total: totalCount,
      isLast: !links?.some(({ rel }) => rel === "next"),
    };
  }, options);
}

function entryOf(entry: z.output<typeof ENTRY>, operation: string): AccessEntry {
  const { cidrBlock, ipAddress, awsSecurityGroup, comment, deleteAfterDate } = entry;
  const address = cidrBlock ?? ipAddress ?? null;
  const value = readAs(z.string().check(z.minLength(1)), address ?? awsSecurityGroup, operation);
  return { value, address, comment: comment ?? null, isTemporary: Boolean(deleteAfterDate) };
}

// By world, so that what one process was given is shared by all its targets and by nothing else.
const sessions = new WeakMap<World, Map<string, Credentials>>();

function tokensOf(connection: AtlasConnection, world: World): Credentials {
  const shared = sessions.get(world) ?? new Map<string, Credentials>();
  sessions.set(world, shared);
  const key = JSON.stringify(connection);
  const known = shared.get(key) ?? openTokens(connection, world);
  shared.set(key, known);
  return known;
}

/** Tokens of a service account, each for as long as it is good for another minute. */
function openTokens(
  { endpoint, clientId, clientSecret }: AtlasConnection,
  world: World,
): Credentials {
  const basic = Buffer.from(`${clientId}:${clientSecret}`).toString("base64");
  const rest = openRest({
    baseUrl: endpoint,
    credentials: {
      headers: async () => ({ authorization: `Basic ${basic}` }),
      forget: () => undefined,
    },
    world,
    callMs: CALL_MS_MAX,
    // A wrong id or secret is a 400 or a 401 here: nothing that another try would mend.
    failureOf: ({ status }) =>
      status === 400 || status === 401 ? { kind: "denied", code: "InvalidClient" } : null,
  });
  let held: { readonly token: string; readonly until: number } | null = null;
  return {
    async headers(signal) {
      if (held === null || world.now() >= held.until) {
        const operation = "generate-oauth2-token";
        const body = new URLSearchParams({ grant_type: "client_credentials" });
        const path = ["api", "oauth", "token"];
        const answer = await rest.call({ method: "POST", path, body, operation }, signal);
        const { access_token: token, expires_in: seconds } = readAs(TOKEN, answer, operation);
        held = { token, until: world.now() + seconds * 1_000 - TOKEN_SPARE_MS };
      }
      return { authorization: `Bearer ${held.token}` };
    },
    forget() {
      held = null;
    },
  };
}
