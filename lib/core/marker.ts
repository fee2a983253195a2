import { createHash } from "node:crypto";

/**
 * A marker says in fifteen characters whose an entry is: `ka1`, five of the installation, seven of
 * the list. The alphabet `[a-z0-9]` and the length fit every vendor's description, comment and
 * group name, and the text never changes while the entry lives, because an edit can cost a gap on
 * some backends.
 */
const FORMAT = "ka1";
const INSTALLATION_CHARACTERS = 5;
const LIST_CHARACTERS = 7;
const MARKER = /^ka1[a-z2-7]{12}(?= |$)/;
const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";

/** The names whose entries a list claims: its own, and those it had formerly, the oldest first. */
export interface Owner {
  readonly installation: string;
  readonly list: string;
  readonly formerly: readonly string[];
}

export type Ownership = "owned" | "orphaned" | "foreign";

export function markerOf(installation: string, list: string): string {
  return (
    FORMAT +
    base32(installation, INSTALLATION_CHARACTERS) +
    base32(`${installation}\n${list}`, LIST_CHARACTERS)
  );
}

/** The marker, and after a space what people want to read. Code reads the marker only. */
export function markerText(installation: string, list: string): string {
  return `${markerOf(installation, list)} ${installation}/${list}`;
}

/** As much of {@link markerText} as a backend takes beside an entry, the marker at least. */
export function markerWithin(text: string, charactersMax: number): string {
  return text.length <= charactersMax ? text : (text.split(" ")[0] ?? text);
}

/**
 * The name of a list's own container, where a backend marks groups and not entries. The first of
 * its former names decides, so that a renamed list keeps its container.
 */
export function containerOf({ installation, list, formerly }: Owner): string {
  return markerOf(installation, formerly[0] ?? list);
}

/**
 * Tells whose an entry is by the text beside it: `owned` by the list, `orphaned` when it is of our
 * installation but of no list that may write here (a slot belongs to one list), else `foreign`.
 * Must be made once per run: it hashes every name.
 */
export function ownership(owner: Owner): (text: string | null) => Ownership {
  const own = new Set(
    [owner.list, ...owner.formerly].map((list) => markerOf(owner.installation, list)),
  );
  const installation = FORMAT + base32(owner.installation, INSTALLATION_CHARACTERS);
  return (text) => {
    const marker = text === null ? null : MARKER.exec(text)?.[0];
    if (!marker) return "foreign";
    if (own.has(marker)) return "owned";
    return marker.startsWith(installation) ? "orphaned" : "foreign";
  };
}

function base32(text: string, characters: number): string {
  const bytes = createHash("sha256").update(text).digest();
  let bits = 0n;
  for (const byte of bytes.subarray(0, 8)) bits = (bits << 8n) | BigInt(byte);
  return Array.from({ length: characters }, (_, index) => {
    const shift = 64n - 5n * BigInt(index + 1);
    return BASE32[Number((bits >> shift) & 31n)];
  }).join("");
}
