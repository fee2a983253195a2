import * as z from "zod/mini";
import { type Cidr, familyOf, parseAddress, parseCidr, prefixLengthOf } from "../core/cidr.ts";
import { alibabaSubnetShape, awsSubnetShape } from "../sources/subnet-shape.ts";
import { ossShape, s3Shape } from "../stores/settings.ts";
import { familyShape, secretShape } from "../targets/settings.ts";
import { shownText } from "./problems.ts";

/*
 * The shapes of the configuration file, part by part. `config.ts` parses each part on its own, so
 * that all problems are found at once; `scripts/schema.ts` puts them together again for editors.
 */

const NAME = /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/;

/**
 * Of clusters, lists and installations; short and plain enough for every vendor's markers and every
 * store's keys.
 */
export const nameShape = z.string().check(
  z.regex(NAME, {
    error: ({ input }) =>
      `Cannot use name ${JSON.stringify(input)}: expected 1 to 32 of a-z, 0-9 and "-", no ` +
      `"-" at either end`,
  }),
);

const DURATION = /^(0|[1-9][0-9]{0,8})(s|m|h)$/;
const UNIT_MS = { s: 1_000, m: 60_000, h: 3_600_000 } as const;
const DURATION_MS_MAX = 366 * 24 * UNIT_MS.h;

/** `90s`, `5m`, `1h` as milliseconds; null when it is none of these. */
export function parseDuration(text: string): number | null {
  const [, count, unit] = DURATION.exec(text) ?? [];
  if (count === undefined || unit === undefined) return null;
  const ms = Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS];
  return ms > DURATION_MS_MAX ? null : ms;
}

interface DurationLimit {
  readonly text: string;
  readonly reason: string;
}

function durationShape(minimum: DurationLimit, maximum: DurationLimit | null = null) {
  const minimumMs = parseDuration(minimum.text) ?? 0;
  const maximumMs = parseDuration(maximum?.text ?? "") ?? DURATION_MS_MAX;
  return z.pipe(
    z
      .string({ error: ({ input }) => durationMessage(input) })
      .check(z.regex(DURATION, { error: ({ input }) => durationMessage(input) })),
    z.transform((text, context) => {
      const ms = parseDuration(text);
      if (ms !== null && ms >= minimumMs && ms <= maximumMs) return ms;
      const limit = ms !== null && ms < minimumMs ? minimum : maximum;
      const side = limit === minimum ? "at least" : "at most";
      const message =
        ms === null || limit === null
          ? `Cannot use duration ${text}: more than a year`
          : `Cannot use duration ${text}: expected ${side} ${limit.text}, ${limit.reason}`;
      context.issues.push({ code: "custom", message, input: text });
      return z.NEVER;
    }),
  );
}

function durationMessage(input: unknown): string {
  return `Cannot read duration ${JSON.stringify(input)}: write it like "90s", "5m" or "1h"`;
}

/** A network without host bits, or a single host; never /0. */
const cidrShape = z.pipe(
  z.string(),
  z.transform((text, context): Cidr => {
    const cidr = parseCidr(text);
    const message = cidr === null ? notCidrMessage(text) : cidrMessage(text, cidr);
    if (cidr !== null && message === null) return cidr;
    context.issues.push({ code: "custom", message: message ?? "", input: text });
    return z.NEVER;
  }),
);

function notCidrMessage(text: string): string {
  return (
    `Cannot read CIDR ${JSON.stringify(text)}: write it like "203.0.113.0/24" or ` +
    `"2001:db8::/48"`
  );
}

function cidrMessage(text: string, cidr: Cidr): string | null {
  if (prefixLengthOf(cidr) === 0) {
    return `Cannot use CIDR ${text}: it is everything, which no list may hold; name the networks`;
  }
  const host = parseAddress(text.split("/")[0] ?? "");
  if (host === null || addressPart(host) === addressPart(cidr)) return null;
  return (
    `Cannot use CIDR ${text}: it has host bits; write "${cidr}" for the network or ` +
    `"${host}" for the host`
  );
}

function addressPart(cidr: Cidr): string {
  return cidr.slice(0, cidr.indexOf("/"));
}

const UNIQUE_LOCAL = /^f[cd]/;

// Nobody owns more than this. IPv4: /8 is the largest block the registry gave out. IPv6: registries
// give providers /32 to /19, and the largest known allocation is a /16; fd00::/8 is the private
// space that 10.0.0.0/8 is in IPv4 (RFC 4193), so people write it as a bound.
function broadestBound(cidr: Cidr): number {
  if (familyOf(cidr) === "ipv4") return 8;
  return UNIQUE_LOCAL.test(cidr) ? 8 : 16;
}

const boundShape = z.pipe(
  z.string(),
  z.transform((text, context): Cidr | "public" => {
    if (text === "public") return text;
    const cidr = parseCidr(text);
    const message =
      cidr === null ? notCidrMessage(text) : (cidrMessage(text, cidr) ?? boundMessage(cidr));
    if (cidr !== null && message === null) return cidr;
    context.issues.push({ code: "custom", message: message ?? "", input: text });
    return z.NEVER;
  }),
);

function boundMessage(cidr: Cidr): string | null {
  const broadest = broadestBound(cidr);
  if (prefixLengthOf(cidr) >= broadest) return null;
  return (
    `Cannot use bound ${cidr}: broader than /${broadest}; name the networks that the nodes ` +
    "live in"
  );
}

// Kubernetes' syntax of label keys and values: what breaks it can match no node, only mislead.
const LABEL_NAME = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)$/;
const LABEL_KEY =
  /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE_LENGTH_MAX = 63;

const labelKeyShape = z.string().check(
  z.regex(LABEL_KEY, {
    error: ({ input }) =>
      `Cannot use label ${JSON.stringify(input)}: no label of Kubernetes is like it`,
  }),
);
const labelValueShape = z.string().check(
  z.refine(
    (value) => value === "" || (value.length <= LABEL_VALUE_LENGTH_MAX && LABEL_NAME.test(value)),
    {
      error: ({ input }) =>
        `Cannot use label value ${JSON.stringify(input)}: no label of Kubernetes has it`,
    },
  ),
);
const labelsShape = z.record(labelKeyShape, labelValueShape);

const ENTRIES_MAX = 100_000;
const SIGNATURE_KEYS_MAX = 10;
const BOUNDS_MAX = 1_000;
const STATIC_CIDRS_MAX = 10_000;
const SOURCES_MAX = 100;
const OUTSIDE_SOURCES_MAX = 100;
const TARGETS_MAX = 100;
const FORMER_NAMES_MAX = 100;

export const storeShapes = {
  memory: z
    .strictObject({ kind: z.literal("memory") })
    .check(z.describe("Forgets everything when the process ends; for trying out")),
  file: z
    .strictObject({
      kind: z.literal("file"),
      path: z.string().check(z.minLength(1), z.describe("Folder, relative to this file")),
    })
    .check(z.describe("A folder; for one machine")),
  s3: s3Shape,
  oss: ossShape,
} as const;

const KEY_SET_KEYS_MAX = 64;
const KEY_SET_PLACE = /^(discover|env:[A-Za-z_][A-Za-z0-9_]*|file:[^\s].*)$/;
const ISSUER_CHARACTERS_MAX = 1_024;
/** Compared to the letter, so what nobody can see must not be in it. */
const claimShape = z.string().check(
  z.maxLength(ISSUER_CHARACTERS_MAX),
  z.regex(/^[\x21-\x7e]+$/, {
    error: "Cannot use this text: expected visible ASCII without blanks, as the cluster writes it",
  }),
);

const serviceAccountShape = z
  .strictObject({
    issuer: claimShape.check(
      z.describe("The cluster's issuer to the letter, a slash at the end included"),
    ),
    audience: claimShape.check(z.describe("What tokens are asked for, as the receiver's own URL")),
    subject: z.string().check(
      z.regex(
        /^system:serviceaccount:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?:[a-z0-9][a-z0-9.-]{0,252}$/,
        {
          error: ({ input }) =>
            `Cannot use subject ${shownText(String(input))}: write it like ` +
            '"system:serviceaccount:NAMESPACE:NAME"',
        },
      ),
      z.describe("The forwarder's service account"),
    ),
    jwks: z
      .union([
        z.string().check(
          z.regex(KEY_SET_PLACE, {
            error: ({ input }) =>
              `Cannot take the keys from ${shownText(String(input))}: write "discover", ` +
              '"file:PATH" or "env:NAME"',
          }),
        ),
        z.looseObject({
          keys: z.array(z.looseObject({})).check(z.minLength(1), z.maxLength(KEY_SET_KEYS_MAX)),
        }),
      ])
      .check(
        z.describe(
          'Public keys of the issuer: "discover", or pinned: "file:PATH", "env:NAME" or the JSON ' +
            "Web Key Set itself",
        ),
      ),
  })
  .check(z.describe("Projected service-account token"));

const authShape = z
  .strictObject({
    serviceAccount: z.optional(serviceAccountShape),
    signature: z
      .optional(
        z.strictObject({
          keys: z
            .array(secretShape)
            .check(
              z.minLength(1),
              z.maxLength(SIGNATURE_KEYS_MAX),
              z.describe(
                'References to whsec_ keys, "env:NAME" or "file:PATH"; several while rotating',
              ),
            ),
        }),
      )
      .check(z.describe("Standard Webhooks signature")),
  })
  .check(z.describe("How deliveries prove that they come from this cluster"));

const STALE_AFTER = { text: "12m", reason: "two heartbeats of the forwarder" };

const widestShape = z.strictObject({
  ipv4: z.optional(z.int().check(z.minimum(8), z.maximum(32))),
  ipv6: z.optional(z.int().check(z.minimum(16), z.maximum(128))),
});

export const clusterShape = z.strictObject({
  auth: z.optional(authShape),
  bounds: z
    .array(boundShape)
    .check(
      z.minLength(1),
      z.maxLength(BOUNDS_MAX),
      z.describe(
        "Networks that every address must lie in; or [public]: single globally routable " +
          "hosts, then maxEntries is required",
      ),
    ),
  maxEntries: z
    .optional(z.int().check(z.minimum(1), z.maximum(ENTRIES_MAX)))
    .check(z.describe("Most entries of this cluster on one list; default 1000")),
  staleAfter: z
    .optional(durationShape(STALE_AFTER))
    .check(z.describe("After this long unheard, removals wait; default 15m, at least 12m")),
  uid: z
    .optional(
      z.string().check(
        z.regex(/^[A-Za-z0-9-]{1,64}$/, {
          error: ({ input }) =>
            `Cannot use uid ${JSON.stringify(input)}: take it from "kubectl get namespace ` +
            `kube-system -o jsonpath={.metadata.uid}"`,
        }),
      ),
    )
    .check(z.describe("Pins the cluster: uid of its namespace kube-system")),
  retired: z
    .optional(z.boolean())
    .check(
      z.describe("The cluster is gone: counts as heard with no nodes, its deliveries are refused"),
    ),
  widest: z
    .optional(widestShape)
    .check(z.describe("Shortest prefix lengths of podCidrs; default { ipv4: 20, ipv6: 56 }")),
});

const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const DNS_NAME_CHARACTERS_MAX = 253;
const TTL_MIN = { text: "30s", reason: "because name servers are others' machines" };
const TTL_MAX = { text: "1h", reason: "as long as an answer is remembered" };

/** Absolute, lower case, without the last dot. */
const dnsNameShape = z.pipe(
  z.string(),
  z.transform((text, context): string => {
    const name = text.toLowerCase().replace(/\.$/, "");
    const problem = dnsNameProblem(name);
    if (problem === null) return name;
    const message = `Cannot use name ${shownText(text)}: ${problem}`;
    context.issues.push({ code: "custom", message, input: text });
    return z.NEVER;
  }),
);

function dnsNameProblem(name: string): string | null {
  if (parseCidr(name) !== null) return "it is an address; list it under static";
  const labels = name.split(".");
  if (name.includes("*")) return "a wildcard stands for names that nobody can list; write them out";
  const isNumber = /^[0-9]+$/.test(labels.at(-1) ?? "");
  const fits = name.length <= DNS_NAME_CHARACTERS_MAX && !isNumber;
  if (!fits || !labels.every((label) => DNS_LABEL.test(label))) {
    return 'no name of a host is like it; write it like "nat.example.com", other letters as xn--…';
  }
  return labels.length > 1 ? null : "it has no domain; write it in full";
}

export const dnsItemShape = z.strictObject({
  name: dnsNameShape.check(
    z.describe("Name with A or AAAA records, in full; search domains do not count"),
  ),
  ttlMin: z
    .optional(durationShape(TTL_MIN, TTL_MAX))
    .check(z.describe("It is asked again at most this often; default 1m, 30s to 1h")),
  family: z
    .optional(familyShape)
    .check(z.describe("Asks for addresses of one family only; default both")),
});

function dnsOf(item: z.ZodMiniType) {
  return z
    .strictObject({
      dns: z.array(item).check(z.minLength(1), z.maxLength(OUTSIDE_SOURCES_MAX)),
      bounds: z
        .optional(z.array(boundShape).check(z.minLength(1), z.maxLength(BOUNDS_MAX)))
        .check(
          z.describe(
            "Networks that every address must lie in; default [public]: single globally routable " +
              "hosts",
          ),
        ),
    })
    .check(
      z.describe("Addresses of names, for NAT gateways and proxies: all answers of the last hour"),
    );
}

function subnetsOf(item: z.ZodMiniType) {
  return z
    .strictObject({
      subnets: z.array(item).check(z.minLength(1), z.maxLength(OUTSIDE_SOURCES_MAX)),
      widest: z
        .optional(widestShape)
        .check(z.describe("Shortest prefix lengths of subnets; default { ipv4: 20, ipv6: 56 }")),
    })
    .check(z.describe("Networks of subnets of AWS and vSwitches of Alibaba Cloud"));
}

// Their items are parsed one by one, so that one bad item hides no other.
export const dnsShape = dnsOf(z.unknown());
export const subnetsShape = subnetsOf(z.unknown());

export const sourceShapes = {
  nodes: z
    .strictObject({
      cluster: nameShape,
      nodes: labelsShape.check(
        z.describe("Labels that a node must have, all of them; {} is every node"),
      ),
      addresses: z.array(z.enum(["InternalIP", "ExternalIP", "podCidrs"])).check(z.minLength(1)),
    })
    .check(z.describe("Addresses of a cluster's nodes")),
  pods: z
    .strictObject({
      cluster: nameShape,
      pods: z.strictObject({
        namespace: z.string().check(
          z.regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, {
            error: ({ input }) =>
              `Cannot use namespace ${JSON.stringify(input)}: no namespace of Kubernetes ` +
              "is like it",
          }),
        ),
        labels: labelsShape.check(
          z.describe("Labels that a pod must have, all of them; {} is every pod"),
        ),
      }),
    })
    .check(
      z.describe(
        "Addresses of a cluster's pods, for networks in which pods keep theirs; its bounds must " +
          "name the pods' networks",
      ),
    ),
  static: z
    .strictObject({
      static: z.array(cidrShape).check(z.minLength(1), z.maxLength(STATIC_CIDRS_MAX)),
    })
    .check(z.describe("Addresses that are always on the list")),
  subnets: subnetsOf(z.union([alibabaSubnetShape, awsSubnetShape])),
  dns: dnsOf(dnsItemShape),
} as const;

const GRACE = { text: "0s", reason: "a time" };
const ACCEPT_AFTER = { text: "1s", reason: "because 0s would switch the guard off" };

const removalShape = z.strictObject({
  policy: z
    .enum(["sync", "add-only"])
    .check(z.describe("sync removes what is unwanted, add-only never")),
  grace: z
    .optional(durationShape(GRACE))
    .check(z.describe("How long an entry stays after it was last wanted; default 5m")),
  maxRatio: z
    .optional(z.number().check(z.minimum(0), z.maximum(1)))
    .check(z.describe("Share of the entries that one run may remove; default 0.3")),
  minRemaining: z
    .optional(z.int().check(z.minimum(0), z.maximum(ENTRIES_MAX)))
    .check(z.describe("Entries that must stay; default 1")),
  acceptAfter: z
    .optional(z.union([z.literal("never"), durationShape(ACCEPT_AFTER)]))
    .check(z.describe("Guarded removals go after being confirmed for this long; default never")),
});

/** `source` and `target` are parsed one by one, so the caller says what stands for them here. */
export function listShape(source: z.ZodMiniType, target: z.ZodMiniType) {
  return z.strictObject({
    from: z
      .array(source)
      .check(z.minLength(1), z.maxLength(SOURCES_MAX), z.describe("Where the addresses come from")),
    removal: removalShape,
    targets: z
      .array(target)
      .check(z.minLength(1), z.maxLength(TARGETS_MAX), z.describe("Where the list is kept")),
    gate: z
      .optional(z.boolean())
      .check(z.describe("Whether nodes wait for this list; default true")),
    formerly: z
      .optional(z.array(nameShape).check(z.maxLength(FORMER_NAMES_MAX)))
      .check(z.describe("Earlier names, whose entries this list claims")),
  });
}

const STATUS_TOKENS_MAX = 10;

const statusShape = z
  .strictObject({
    tokens: z
      .array(secretShape)
      .check(
        z.minLength(1),
        z.maxLength(STATUS_TOKENS_MAX),
        z.describe(
          'References to bearer tokens, "env:NAME" or "file:PATH"; several while rotating',
        ),
      ),
  })
  .check(z.describe("Who may read the status from another machine"));

/** Clusters and lists, too, are parsed one by one, by name. */
export function fileShape(parts: {
  readonly name: z.ZodMiniString;
  readonly store: z.ZodMiniType;
  readonly cluster: z.ZodMiniType;
  readonly list: z.ZodMiniType;
}) {
  return z.strictObject({
    $schema: z.optional(z.string()),
    version: z.literal(1),
    installation: nameShape.check(z.describe("Part of every owner marker; never change it")),
    store: parts.store.check(z.describe("Where snapshots and records are kept")),
    status: z.optional(statusShape),
    clusters: z.record(parts.name, parts.cluster),
    lists: z.record(parts.name, parts.list),
  });
}
