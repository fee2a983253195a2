import { createHash } from "node:crypto";
import { type Cidr, familyOf, parseCidr } from "../../lib/core/cidr.ts";

/*
 * Readers that take a feed the way the products do, as far as their manuals tell: what they skip,
 * what they choke on, and what they do with half a file.
 */

/** PAN-OS: one address, network or range on a line; what it does not know it skips and logs. */
export function readPaloAlto(text: string, entriesMax = 50_000) {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const known = lines.flatMap((line) => parseCidr(line) ?? []);
  return {
    entries: known.slice(0, entriesMax),
    skipped: lines.length - Math.min(known.length, entriesMax),
  };
}

/** FortiOS: as PAN-OS, at most 131,072 lines and 10 MB before 7.4.4; the excess is cut off. */
export function readFortiGate(text: string) {
  const whole = text.slice(0, 10 * 1024 * 1024);
  const lines = whole.split("\n").filter((line) => line.trim() !== "");
  const valid = lines.slice(0, 131_072).flatMap((line) => parseCidr(line.trim()) ?? []);
  return { entries: valid, errors: lines.length - valid.length };
}

export interface CiscoState {
  readonly checksum: string;
  readonly entries: readonly Cidr[];
}

/**
 * Cisco Security Intelligence: fetched only where the checksum has changed. One line that it knows
 * is enough for it to take the whole file, so half a download would replace the list; only the
 * length that was announced tells.
 */
export function readCisco(
  held: CiscoState | null,
  offered: { readonly checksum: string; readonly length: number; readonly text: string },
): CiscoState {
  const checksum = offered.checksum.trim();
  if (held !== null && held.checksum === checksum) return held;
  const { text } = offered;
  if (Buffer.byteLength(text) !== offered.length) throw new Error("the download was cut short");
  if (createHash("md5").update(text).digest("hex") !== checksum) throw new Error("checksum");
  const lines = text.split("\n").filter((line) => !line.startsWith("#"));
  const entries = lines.flatMap((line) => parseCidr(line) ?? []);
  if (entries.length === 0 && held !== null) return held;
  return { checksum, entries };
}

/** OPNsense URL table: ignores what begins with blank, comma, semicolon, bar or hash. */
export function readOpnsense(text: string): readonly string[] {
  return text
    .split("\n")
    .filter((line) => line !== "" && !/^[\s,;|#]/.test(line))
    .map((line) => line.split(/[\s,;|#]/)[0] ?? "");
}

/** OPNsense URL table in JSON format, with the path expressions `ipv4[]` and `ipv6[]`. */
export function readOpnsenseJson(text: string): readonly string[] {
  const document = JSON.parse(text) as { ipv4: string[]; ipv6: string[] };
  return [...document.ipv4, ...document.ipv6];
}

interface RouterEntry {
  readonly list: string;
  readonly address: string;
  readonly comment: string;
}

const QUOTED = '"([^"$\\\\]*)"';
const MENU = "(/ip|/ipv6) firewall address-list";
const FOUND = `\\[${MENU} find where list=${QUOTED} and address=${QUOTED}\\]`;
const ADDITION = new RegExp(
  `^:do \\{ ${MENU} add list=${QUOTED} address=${QUOTED} comment=${QUOTED} \\} ` +
    `on-error=\\{ :if \\(\\[:len ${FOUND}\\] = 0\\) do=\\{ :error ${QUOTED} \\}; ` +
    `${MENU} set ${FOUND} comment=${QUOTED} \\}$`,
);
const REMOVAL = new RegExp(
  `^${MENU} remove \\[${MENU} find where list=${QUOTED} and comment!=${QUOTED}\\]$`,
);

/** The part of RouterOS that an import meets: address lists of both menus, line by line. */
export function makeRouter(options: { readonly entriesMax?: number } = {}) {
  const { entriesMax = Number.POSITIVE_INFINITY } = options;
  let entries: { readonly menu: string; readonly entry: RouterEntry }[] = [];
  const find = (menu: string, list: string, address: string) =>
    entries.filter(
      (one) => one.menu === menu && one.entry.list === list && one.entry.address === address,
    );
  const add = (menu: string, entry: RouterEntry) => {
    if (find(menu, entry.list, entry.address).length > 0 || entries.length >= entriesMax) {
      return false;
    }
    entries.push({ menu, entry });
    return true;
  };
  const runLine = (line: string) => {
    const added = ADDITION.exec(line);
    if (added !== null) {
      const [, menu = "", list = "", shown = "", comment = "", ...rest] = added;
      const address = routerAddress(menu, shown);
      const again = [menu, list, shown, null, menu, menu, list, shown, comment];
      for (const [index, part] of again.entries()) {
        if (part !== null && rest[index] !== part) throw new Error(`another ${index}: ${line}`);
      }
      if (add(menu, { list, address, comment })) return;
      const found = find(menu, list, shown);
      if (found.length === 0) throw new Error(rest[3]);
      entries = entries.map((one) =>
        found.includes(one) ? { menu, entry: { ...one.entry, comment } } : one,
      );
      return;
    }
    const [whole, menu, , list, comment] = REMOVAL.exec(line) ?? [];
    if (whole === undefined) throw new Error(`syntax error: ${line}`);
    entries = entries.filter(
      (one) => one.menu !== menu || one.entry.list !== list || one.entry.comment === comment,
    );
  };
  return {
    /** Runs line after line and stops at the first that fails. */
    import(text: string) {
      for (const line of text.split("\n").filter((one) => one !== "")) runLine(line);
    },
    add: (menu: "/ip" | "/ipv6", entry: RouterEntry) => add(menu, entry),
    addresses: (list: string) =>
      entries.filter(({ entry }) => entry.list === list).map(({ entry }) => entry.address),
  };
}

/** How RouterOS shows what it was given: a host of IPv4 without a length, of IPv6 with one. */
function routerAddress(menu: string, text: string): string {
  const cidr = parseCidr(text);
  if (cidr === null || (familyOf(cidr) === "ipv4") !== (menu === "/ip")) {
    throw new Error(`value of address expected: ${text}`);
  }
  return familyOf(cidr) === "ipv4" ? cidr.replace(/\/32$/, "") : cidr;
}
