import assert from "node:assert/strict";
import { BlockList, isIP } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import {
  addressText,
  byFamily,
  type Cidr,
  FAMILIES,
  type Family,
  familyOf,
  forbiddenReason,
  isGlobalHost,
  isHost,
  isWithin,
  parseAddress,
  parseCidr,
  prefixLengthOf,
  rangeOf,
  sortCidrs,
} from "../../lib/core/cidr.ts";

// A second implementation, in plain numbers, that shares no code with the first.

const BITS = { ipv4: 32, ipv6: 128 } as const;

interface Network {
  readonly family: Family;
  readonly first: bigint;
  readonly length: number;
}

function numberOf(text: string): { readonly family: Family; readonly value: bigint } {
  if (!text.includes(":")) {
    const value = text.split(".").reduce((sum, octet) => sum * 256n + BigInt(octet), 0n);
    return { family: "ipv4", value };
  }
  const dotted = /^(.*:)([0-9.]+\.[0-9.]+)$/.exec(text);
  const [, head, tail] = dotted ?? [];
  const low = tail === undefined ? 0n : numberOf(tail).value;
  const hex =
    tail === undefined
      ? text
      : `${head}${(low >> 16n).toString(16)}:${(low & 0xffffn).toString(16)}`;
  const [before = "", after] = hex.split("::");
  const left = before === "" ? [] : before.split(":");
  const right = after === undefined || after === "" ? [] : after.split(":");
  const zeros = Array<string>(8 - left.length - right.length).fill("0");
  const groups = after === undefined ? left : [...left, ...zeros, ...right];
  const value = groups.reduce((sum, group) => sum * 65536n + BigInt(`0x${group}`), 0n);
  return { family: "ipv6", value };
}

function groupsOf(value: bigint): number[] {
  return Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(112 - 16 * i)) & 0xffffn));
}

/**
 * RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups
 * shortened.
 */
function textOf(family: Family, value: bigint): string {
  if (family === "ipv4") {
    return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join(".");
  }
  const plain = groupsOf(value).map((group) => group.toString(16));
  for (let run = 8; run >= 2; run--) {
    for (let start = 0; start + run <= 8; start++) {
      if (plain.slice(start, start + run).some((group) => group !== "0")) continue;
      return `${plain.slice(0, start).join(":")}::${plain.slice(start + run).join(":")}`;
    }
  }
  return plain.join(":");
}

function cidrText({ family, first, length }: Network): string {
  return `${textOf(family, first)}/${length}`;
}

function lastOf({ family, first, length }: Network): bigint {
  return first + (1n << BigInt(BITS[family] - length)) - 1n;
}

function network(family: Family, value: bigint, length: number): Network {
  const size = 1n << BigInt(BITS[family] - length);
  return { family, first: (value / size) * size, length };
}

function referenceOf(cidr: string): Network {
  const [address = "", length = ""] = cidr.split("/");
  const { family, value } = numberOf(address);
  return network(family, value, Number(length));
}

function overlap(a: Network, b: Network): boolean {
  return a.family === b.family && a.first <= lastOf(b) && b.first <= lastOf(a);
}

function inside(inner: Network, outer: Network): boolean {
  return (
    inner.family === outer.family && outer.first <= inner.first && lastOf(inner) <= lastOf(outer)
  );
}

function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  assert(parsed !== null, text);
  return parsed;
}

// Generators.

/**
 * Values whose groups are often zero or all ones, where every mistake of shortening and masking
 * lives.
 */
const ipv6Value = fc
  .array(fc.oneof(fc.constant(0), fc.constant(0xffff), fc.constant(0xc0), fc.nat(0xffff)), {
    minLength: 8,
    maxLength: 8,
  })
  .map((groups) => groups.reduce((sum, group) => sum * 65536n + BigInt(group), 0n));

const ipv4Value = fc.oneof(
  fc.nat(0xffffffff).map(BigInt),
  fc.constantFrom(0n, 0xffffffffn, 0x7f000001n, 0xa9fea9fen, 0xe0000001n, 0x0a000000n),
);

const someNetwork: fc.Arbitrary<Network> = fc.oneof(
  fc.tuple(ipv4Value, fc.nat(32)).map(([value, length]) => network("ipv4", value, length)),
  fc.tuple(ipv6Value, fc.nat(128)).map(([value, length]) => network("ipv6", value, length)),
);

const someHost: fc.Arbitrary<Network> = fc.oneof(
  ipv4Value.map((value) => network("ipv4", value, 32)),
  ipv6Value.map((value) => network("ipv6", value, 128)),
);

/**
 * One IPv6 address in any spelling: case, leading zeros, any run of zeros shortened or none, dotted
 * tail.
 */
const ipv6Spelling = fc
  .record({
    value: ipv6Value,
    upper: fc.boolean(),
    widths: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 8, maxLength: 8 }),
    start: fc.nat(7),
    run: fc.nat(8),
    dotted: fc.boolean(),
  })
  .map(({ value, upper, widths, start, run, dotted }) => {
    const numbers = groupsOf(value);
    const texts = numbers.map((group, i) => group.toString(16).padStart(widths[i] ?? 1, "0"));
    const tail = dotted ? [textOf("ipv4", value & 0xffffffffn)] : texts.slice(6);
    const groups = [...texts.slice(0, 6), ...tail];
    const end = Math.min(start + run, dotted ? 6 : 8);
    const zero = end > start && numbers.slice(start, end).every((group) => group === 0);
    const text = zero
      ? `${groups.slice(0, start).join(":")}::${groups.slice(end).join(":")}`
      : groups.join(":");
    return { value, text: upper ? text.toUpperCase() : text };
  });

/**
 * Texts that are nearly addresses: a good one with a few characters put in, taken out or replaced.
 */
const nearly = fc
  .tuple(
    fc.oneof(
      someHost.map(({ family, first }) => textOf(family, first)),
      ipv6Spelling.map(({ text }) => text),
    ),
    fc.array(
      fc.record({
        at: fc.nat(50),
        cut: fc.nat(2),
        put: fc.constantFrom(..."0123456789abfFxgG.:/%[]@#?+- \t\n\0_,１٣。", "", "::", "00", "25"),
      }),
      { maxLength: 3 },
    ),
  )
  .map(([text, edits]) =>
    edits.reduce((sum, { at, cut, put }) => sum.slice(0, at) + put + sum.slice(at + cut), text),
  );

// Parsing.

test("parseAddress() takes exactly what node:net takes, zones aside", () => {
  const texts = fc.oneof(
    { weight: 6, arbitrary: nearly },
    { weight: 2, arbitrary: ipv6Spelling.map(({ text }) => text) },
    { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 50 }) },
  );
  fc.assert(
    fc.property(texts, (text) => {
      const accepted = isIP(text) !== 0 && !text.includes("%");
      const parsed = parseAddress(text);
      assert.equal(parsed !== null, accepted, text);
      if (parsed === null) return;
      const { family, value } = numberOf(text);
      assert.equal(parsed, `${textOf(family, value)}/${BITS[family]}`);
    }),
    { numRuns: 4000 },
  );
});

test("parseAddress() gives every spelling of an address the same canonical text", () => {
  fc.assert(
    fc.property(ipv6Spelling, ({ value, text }) => {
      assert.equal(isIP(text), 6, text);
      assert.equal(parseAddress(text), `${textOf("ipv6", value)}/128`);
    }),
    { numRuns: 2000 },
  );
});

test("parseCidr() is idempotent and gives back its own text", () => {
  fc.assert(
    fc.property(someNetwork, (given) => {
      const text = cidrText(given);
      const parsed = cidr(text);
      assert.equal(parsed, text);
      assert.equal(parseCidr(parsed), parsed);
      assert.equal(familyOf(parsed), given.family);
      assert.equal(prefixLengthOf(parsed), given.length);
      assert.equal(isHost(parsed), given.length === BITS[given.family]);
      assert.equal(parseCidr(addressText(parsed)), parsed);
      assert.equal(addressText(parsed).includes("/"), !isHost(parsed));
    }),
    { numRuns: 2000 },
  );
});

test("parseCidr() sets host bits to zero", () => {
  const value = fc.oneof(
    fc.tuple(fc.constant("ipv4" as const), ipv4Value, fc.nat(32)),
    fc.tuple(fc.constant("ipv6" as const), ipv6Value, fc.nat(128)),
  );
  fc.assert(
    fc.property(value, ([family, address, length]) => {
      const parsed = parseCidr(`${textOf(family, address)}/${length}`);
      assert.equal(parsed, cidrText(network(family, address, length)));
    }),
    { numRuns: 2000 },
  );
});

test("parseCidr() takes no prefix length but a plain number that fits the family", () => {
  const length = fc.oneof(
    fc.constantFrom("", "08", "00", "33", "129", "-1", "+8", " 8", "8 ", "8\n", "1e1", "0x8", "８"),
    fc.integer({ min: -5, max: 300 }).map(String),
    fc.string({ maxLength: 4 }),
  );
  fc.assert(
    fc.property(someHost, length, ({ family, first }, text) => {
      const parsed = parseCidr(`${textOf(family, first)}/${text}`);
      const plain = /^(0|[1-9][0-9]*)$/.test(text) && Number(text) <= BITS[family];
      assert.equal(parsed !== null, plain, text);
    }),
    { numRuns: 2000 },
  );
});

for (const text of [
  "",
  " ",
  "/",
  "/8",
  "1.2.3.4/",
  "1.2.3.4/08",
  "1.2.3.4/33",
  "1.2.3.4/-1",
  "1.2.3.4/8/8",
  "1.2.3.4/255.0.0.0",
  "01.2.3.4",
  "010.0.0.1",
  "0x7f.0.0.1",
  "2130706433",
  "127.1",
  "1.2.3",
  "1.2.3.4.5",
  "1.2.3.256",
  "1.2.3.4.",
  " 1.2.3.4",
  "1.2.3.4 ",
  "1.2.3.4\n",
  "1.2.3.４",
  "1。2。3。4",
  "fe80::1%eth0",
  "fe80::1%25eth0",
  "[::1]",
  "::1]/[",
  "::1/129",
  "1::2::3",
  ":::",
  "12345::",
  "::g",
  "::ffff:1.2.3",
  "::ffff:1.2.3.04",
  "::256.1.1.1",
  "1:2:3:4:5:6:7",
  "1:2:3:4:5:6:7:8:9",
  "localhost",
  "__proto__",
]) {
  test(`parseCidr() refuses ${JSON.stringify(text)}`, () => {
    assert.equal(parseCidr(text), null);
    assert.equal(parseAddress(text), null);
  });
}

test("parseAddress() refuses a CIDR, also of a single host", () => {
  assert.equal(parseAddress("203.0.113.16/32"), null);
  assert.equal(parseAddress("::1/128"), null);
});

test("parseCidr() refuses a text of a megabyte at once", () => {
  assert.equal(parseCidr("1".repeat(1_000_000)), null);
  assert.equal(parseCidr(`1.2.3.4/${"1".repeat(1_000_000)}`), null);
  assert.equal(parseCidr(`${":".repeat(1_000_000)}/1`), null);
});

// Sets and order.

test("rangeOf() gives the first and the last address", () => {
  fc.assert(
    fc.property(someNetwork, (given) => {
      const range = rangeOf(cidr(cidrText(given)));
      assert.deepEqual(range, { first: given.first, last: lastOf(given) });
    }),
    { numRuns: 2000 },
  );
});

test("sortCidrs() orders by family, first address, broader first, each once", () => {
  fc.assert(
    fc.property(fc.array(someNetwork, { maxLength: 20 }), (given) => {
      const texts = [...given, ...given.slice(0, 3)].map(cidrText);
      const expected = [...new Set(texts)].map(referenceOf).toSorted((a, b) => {
        if (a.family !== b.family) return a.family === "ipv4" ? -1 : 1;
        if (a.first !== b.first) return a.first < b.first ? -1 : 1;
        return a.length - b.length;
      });
      assert.deepEqual(sortCidrs(texts.map(cidr)), expected.map(cidrText));
      assert.deepEqual(sortCidrs(texts.map(cidr).toReversed()), expected.map(cidrText));
    }),
    { numRuns: 500 },
  );
});

/** Pairs that are often nested: the second is a part, or the parent, of the first. */
const relatives = fc
  .tuple(someNetwork, someNetwork, fc.nat(128), fc.boolean())
  .map(([a, b, length, related]): [Network, Network] => {
    if (!related) return [a, b];
    return [a, network(a.family, lastOf(a), Math.min(length, BITS[a.family]))];
  });

test("isWithin() is true exactly when every address lies in one of the networks", () => {
  fc.assert(
    fc.property(relatives, fc.array(someNetwork, { maxLength: 3 }), ([a, b], others) => {
      const outer = [...others, b];
      const expected = outer.some((candidate) => inside(a, candidate));
      assert.equal(isWithin(cidr(cidrText(a)), outer.map(cidrText).map(cidr)), expected);
    }),
    { numRuns: 2000 },
  );
  assert.equal(isWithin(cidr("10.0.0.1/32"), []), false);
});

test("isWithin() agrees with node:net on hosts", () => {
  const mapped = network("ipv6", 0xffff_0000_0000n, 96);
  fc.assert(
    fc.property(relatives, ([outer, inner]) => {
      const host = network(inner.family, inner.first, BITS[inner.family]);
      // node:net compares a v4-mapped address as IPv4, which we refuse to mix.
      fc.pre(!overlap(host, mapped) && !overlap(outer, mapped));
      const list = new BlockList();
      list.addSubnet(textOf(outer.family, outer.first), outer.length, outer.family);
      const expected = list.check(textOf(host.family, host.first), host.family);
      assert.equal(isWithin(cidr(cidrText(host)), [cidr(cidrText(outer))]), expected);
    }),
    { numRuns: 1000 },
  );
});

// What may never be written, and what is public.

const FORBIDDEN: readonly (readonly [string, string])[] = [
  ["unspecified", "0.0.0.0/8"],
  ["unspecified", "::/128"],
  ["loopback", "127.0.0.0/8"],
  ["loopback", "::1/128"],
  ["link-local", "169.254.0.0/16"],
  ["link-local", "fe80::/10"],
  ["multicast", "224.0.0.0/4"],
  ["multicast", "ff00::/8"],
  ["broadcast", "255.255.255.255/32"],
  ["v4-mapped", "::ffff:0:0/96"],
];

/** Near the edges of the ranges above: inside, just outside, and across. */
const nearForbidden = fc
  .tuple(
    fc.constantFrom(...FORBIDDEN.map(([, text]) => text)),
    fc.integer({ min: -2, max: 2 }),
    fc.boolean(),
    fc.nat(20),
  )
  .map(([text, offset, end, wider]) => {
    const range = referenceOf(text);
    const max = (1n << BigInt(BITS[range.family])) - 1n;
    const edge = (end ? lastOf(range) : range.first) + BigInt(offset);
    const value = edge < 0n ? 0n : edge > max ? max : edge;
    return network(range.family, value, BITS[range.family] - wider);
  });

test("forbiddenReason() names whatever touches a range that no cluster may write", () => {
  fc.assert(
    fc.property(fc.oneof(nearForbidden, someNetwork), (given) => {
      const found = FORBIDDEN.find(([, text]) => overlap(given, referenceOf(text)));
      const expected = given.length === 0 ? "everything" : (found?.[0] ?? null);
      assert.equal(forbiddenReason(cidr(cidrText(given))), expected, cidrText(given));
    }),
    { numRuns: 3000 },
  );
});

test("forbiddenReason() forbids everything, and v4-mapped addresses in either spelling", () => {
  assert.equal(forbiddenReason(cidr("0.0.0.0/0")), "everything");
  assert.equal(forbiddenReason(cidr("203.0.113.16/0")), "everything");
  assert.equal(forbiddenReason(cidr("::/0")), "everything");
  assert.equal(forbiddenReason(cidr("::ffff:203.0.113.16")), "v4-mapped");
  assert.equal(forbiddenReason(cidr("::ffff:cb00:7110")), "v4-mapped");
  assert.equal(forbiddenReason(cidr("0.0.0.0/1")), "unspecified");
  assert.equal(forbiddenReason(cidr("192.0.0.0/2")), "multicast");
  assert.equal(forbiddenReason(cidr("169.254.169.254")), "link-local");
  assert.equal(forbiddenReason(cidr("10.0.0.0/8")), null);
  assert.equal(forbiddenReason(cidr("2001:db8::/32")), null);
});

const NOT_GLOBAL = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "::/3",
  "64:ff9b::/96",
  "100::/64",
  "2001:db8::/32",
  "3fff::/20",
  "4000::/2",
  "5f00::/16",
  "fc00::/7",
  "fe80::/10",
  "ff00::/8",
];

test("isGlobalHost() is false at both ends of every range that is not routed globally", () => {
  for (const text of NOT_GLOBAL) {
    const range = referenceOf(text);
    for (const value of [range.first, lastOf(range)]) {
      const host = `${textOf(range.family, value)}/${BITS[range.family]}`;
      assert.equal(isGlobalHost(cidr(host)), false, host);
    }
  }
});

test("isGlobalHost() is true for single public addresses only", () => {
  for (const text of ["1.1.1.1", "100.63.255.255", "172.32.0.0", "223.255.255.255", "2a00::1"]) {
    assert.equal(isGlobalHost(cidr(text)), true, text);
  }
  for (const text of ["1.1.1.0/31", "2a00::/64", "0.0.0.0/0", "::/0", "::ffff:1.1.1.1"]) {
    assert.equal(isGlobalHost(cidr(text)), false, text);
  }
});

test("isGlobalHost() is never true for what no cluster may write", () => {
  fc.assert(
    fc.property(fc.oneof(nearForbidden, someNetwork), (given) => {
      const parsed = cidr(cidrText(given));
      assert(!isGlobalHost(parsed) || forbiddenReason(parsed) === null, parsed);
    }),
    { numRuns: 2000 },
  );
});

test("FAMILIES names each family once, IPv4 first", () => {
  assert.deepEqual(FAMILIES, ["ipv4", "ipv6"]);
});

test("byFamily() keeps each family sorted, each address once", () => {
  const texts = ["2001:db8::2", "192.0.2.9", "2001:db8::1", "192.0.2.1", "192.0.2.9"];
  const cidrs = texts.flatMap((text) => parseCidr(text) ?? []);
  assert.deepEqual(byFamily(cidrs), {
    ipv4: ["192.0.2.1/32", "192.0.2.9/32"],
    ipv6: ["2001:db8::1/128", "2001:db8::2/128"],
  });
});
