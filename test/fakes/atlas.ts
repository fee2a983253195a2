import * as z from "zod/mini";
import type { JsonAnswer, JsonHandler, JsonRequest } from "../../cli/embedded/json-server.ts";
import { addressText, isHost, parseCidr, sortCidrs } from "../../lib/core/cidr.ts";

export interface AccessRow {
  readonly cidrBlock?: string;
  readonly ipAddress?: string;
  readonly awsSecurityGroup?: string;
  readonly comment?: string;
  readonly deleteAfterDate?: string;
}

/** An IP access list in memory, strict where Atlas is, behind the tokens of a service account. */
export interface AtlasCloud {
  readonly handle: JsonHandler;
  rows(): readonly AccessRow[];
  /** Somebody else's hand: replaces them, unchecked. */
  set(rows: readonly AccessRow[]): void;
  /** The tokens that were given out end at once. */
  endTokens(): void;
  /** How often a token was asked for. */
  tokens(): number;
}

export interface AtlasSettings {
  readonly project: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly entriesMax: number;
  /** Most entries on a page, whatever is asked for. */
  readonly pageMax: number;
  readonly batch: "all-or-nothing" | "up-to-the-refused";
}

const entry = z.strictObject({
  cidrBlock: z.string().check(z.refine((text) => text.includes("/") && parseCidr(text) !== null)),
  comment: z.optional(z.string().check(z.maxLength(80))),
});

export function atlasCloud(settings: AtlasSettings): AtlasCloud {
  const { project, clientId, clientSecret } = settings;
  const basic = Buffer.from(`${clientId}:${clientSecret}`).toString("base64");
  let rows: readonly AccessRow[] = [];
  let given = 0;
  let valid = new Set<string>();
  const token = ({ authorization, body }: JsonRequest): JsonAnswer => {
    const { grant_type } = z.looseObject({ grant_type: z.string() }).parse(body);
    if (grant_type !== "client_credentials" || authorization !== `Basic ${basic}`) {
      return { status: 401, body: { error: "invalid_client", error_description: "in prose" } };
    }
    given += 1;
    const access_token = `canary-of-token-${given}`;
    valid.add(`Bearer ${access_token}`);
    return { status: 200, body: { access_token, expires_in: 3_600, token_type: "Bearer" } };
  };
  return {
    rows: () => rows,
    set: (next) => {
      rows = next;
    },
    endTokens: () => {
      valid = new Set();
    },
    tokens: () => given,
    handle(request) {
      const [api, second, , , group, list, value] = request.path;
      if (api === "api" && second === "oauth") return token(request);
      if (!valid.has(request.authorization ?? "")) return refusal(401, "UNAUTHORIZED");
      if (group !== project || list !== "accessList") return refusal(404, "GROUP_NOT_FOUND");
      if (request.method === "GET") return page(rows, request, settings);
      if (request.method === "POST") {
        const added = addition(rows, request.body, settings);
        rows = added.rows;
        return added.answer;
      }
      const left = rows.filter((row) => nameOf(row) !== value && row.ipAddress !== value);
      if (left.length === rows.length) {
        return refusal(404, "ATLAS_NETWORK_PERMISSION_ENTRY_NOT_FOUND");
      }
      rows = left;
      return { status: 204 };
    },
  };
}

/** Takes the place of what has the same network, without a word. */
function addition(
  before: readonly AccessRow[],
  body: unknown,
  { entriesMax, batch }: AtlasSettings,
): { readonly rows: readonly AccessRow[]; readonly answer: JsonAnswer } {
  const { data: asked } = z.array(entry).check(z.minLength(1)).safeParse(body);
  if (asked === undefined) return { rows: before, answer: refusal(400, "VALIDATION_ERROR") };
  let rows = before;
  for (const { cidrBlock, comment } of asked) {
    const cidr = parseCidr(cidrBlock) ?? cidrBlock;
    const others = rows.filter((row) => row.cidrBlock !== cidr);
    if (others.length >= entriesMax) {
      const answer = refusal(400, "TOO_MANY_NETWORK_PERMISSION_ENTRIES");
      return { rows: batch === "up-to-the-refused" ? rows : before, answer };
    }
    rows = [...others, rowOf(cidr, comment)];
  }
  return { rows, answer: { status: 200, body: { results: rows, totalCount: rows.length } } };
}

/** As Atlas shows it: a host is shown as an address, too. */
function rowOf(text: string, comment: string | undefined): AccessRow {
  const cidr = parseCidr(text);
  const host = cidr !== null && isHost(cidr) ? { ipAddress: addressText(cidr) } : {};
  return { cidrBlock: text, ...host, ...(comment === undefined ? {} : { comment }) };
}

function page(
  rows: readonly AccessRow[],
  { query }: JsonRequest,
  { pageMax }: AtlasSettings,
): JsonAnswer {
  const number = Number(query.get("pageNum") ?? 1);
  const size = Math.min(Number(query.get("itemsPerPage") ?? 100), pageMax);
  const end = number * size;
  const links = end < rows.length ? [{ rel: "next", href: "https://elsewhere.example" }] : [];
  const results = inOrder(rows).slice(end - size, end);
  return { status: 200, body: { results, totalCount: rows.length, links } };
}

function inOrder(rows: readonly AccessRow[]): readonly AccessRow[] {
  const known = rows.map((row) => ({ row, cidr: parseCidr(row.cidrBlock ?? row.ipAddress ?? "") }));
  const sorted = sortCidrs(known.flatMap(({ cidr }) => cidr ?? []));
  const ofCidr = sorted.flatMap((cidr) => known.filter((one) => one.cidr === cidr));
  return [...ofCidr, ...known.filter(({ cidr }) => cidr === null)].map(({ row }) => row);
}

function nameOf(row: AccessRow): string {
  return row.cidrBlock ?? row.ipAddress ?? row.awsSecurityGroup ?? "";
}

function refusal(status: number, errorCode: string): JsonAnswer {
  return { status, body: { error: status, errorCode, detail: "in prose" } };
}
