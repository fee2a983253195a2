import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Document, OpenAPIBackend } from "openapi-backend";

/** A request as it leaves the product. */
export interface SentRequest {
  readonly method: string;
  /** With its query, still encoded. */
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** JSON, parsed; undefined where nothing is sent. */
  readonly body: unknown;
}

/** Everything about a request that its vendor's description does not allow, in words. */
export type OpenApiCheck = (request: SentRequest) => readonly string[];

/** Why requests are not compared with the vendors' descriptions, or null when they are. */
export const SPECS_MISSING = process.env.KUBE_ALLOWLIST_SPECS
  ? null
  : "KUBE_ALLOWLIST_SPECS names no folder with the vendors' descriptions";

/**
 * The description in a file of `KUBE_ALLOWLIST_SPECS`, ready to judge; null without that folder.
 */
export async function openApiCheck(file: string): Promise<OpenApiCheck | null> {
  const folder = process.env.KUBE_ALLOWLIST_SPECS;
  if (!folder) return null;
  const definition = JSON.parse(readFileSync(join(folder, file), "utf8"));
  amend(definition);
  const api = new OpenAPIBackend({
    definition: definition as Document,
    quick: true,
    // Silent about formats it does not know; some vendors escape what needs no escape in a pattern.
    ajvOpts: { strict: false, logger: false, allErrors: true, unicodeRegExp: false },
  });
  await api.init();
  return ({ method, url, headers, body }) => {
    const request = {
      method,
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      headers,
      body,
    };
    const operation = api.router.matchOperation(request);
    if (operation === undefined) return [`${method} ${url.pathname} is no operation`];
    const types = Object.keys(contentOf(operation));
    const sent = headers["content-type"] ?? null;
    const ofType =
      types.length === 0 || (sent !== null && types.includes(sent))
        ? []
        : [`content type ${sent} is none of ${types.join(", ")}`];
    const { errors } = api.validateRequest(request, operation);
    const found = errors?.map(
      ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
    );
    return [...ofType, ...(found ?? [])];
  };
}

function contentOf(operation: unknown): Record<string, unknown> {
  const { requestBody } = operation as {
    readonly requestBody?: { readonly content?: Record<string, unknown> };
  };
  const { "application/json": plain, ...own } = requestBody?.content ?? {};
  // A vendor's own type stands for JSON, which is there only because the validator asks for it.
  return Object.keys(own).length > 0 || plain === undefined ? own : { "application/json": plain };
}

/**
 * The validator looks at bodies of plain JSON only. Linode's description is of 2024 and knows
 * neither references to rule sets nor the protocol ALL, which its newer pages have.
 */
function amend(definition: unknown): void {
  visit(definition, (node) => {
    const { content, properties } = node as {
      content?: Record<string, unknown>;
      properties?: Record<string, { enum?: string[] }>;
    };
    const own = Object.entries(content ?? {}).find(([type]) => /^application\/vnd\./.test(type));
    if (content && own && !content["application/json"]) content["application/json"] = own[1];
    if (properties?.protocol?.enum?.includes("IPENCAP")) {
      properties.protocol.enum.push("ALL");
      properties.ruleset = { type: "integer" } as { enum?: string[] };
    }
  });
}

function visit(node: unknown, look: (node: object) => void): void {
  if (typeof node !== "object" || node === null) return;
  look(node);
  for (const child of Object.values(node)) visit(child, look);
}

/** A fetch that judges what is sent with it, and what it found wrong so far. */
export function checkedFetch(check: OpenApiCheck | null): {
  readonly fetch: typeof globalThis.fetch;
  readonly problems: readonly string[];
} {
  const problems: string[] = [];
  return {
    problems,
    fetch: (input, init) => {
      const url = new URL(String(input));
      // The way to a token is described elsewhere.
      if (check !== null && !url.pathname.endsWith("/oauth/token")) {
        const { body } = init ?? {};
        const request = {
          method: init?.method ?? "GET",
          url,
          headers: (init?.headers ?? {}) as Record<string, string>,
          body: typeof body === "string" ? JSON.parse(body) : undefined,
        };
        problems.push(...check(request));
      }
      return globalThis.fetch(input, init);
    },
  };
}
