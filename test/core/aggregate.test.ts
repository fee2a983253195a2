import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { addressSet, aggregate } from "../../lib/core/aggregate.ts";
import { type Cidr, parseCidr, sortCidrs } from "../../lib/core/cidr.ts";

function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  assert(parsed !== null, text);
  return parsed;
}

function cidrs(...texts: readonly string[]): Cidr[] {
  return texts.map(cidr);
}

// A world of 16 addresses, small enough to count them one by one, laid at the ends and in the
// middle of both families. A block is an aligned power of two of them.

const WORLD_BITS = 4;
const WORLD = 2 ** WORLD_BITS;

interface Place {
  readonly text: (address: number) => string;
  readonly bits: number;
}

const PLACES: Readonly<Record<string, Place>> = {
  "the first IPv4 addresses": { text: (address) => `0.0.0.${address}`, bits: 32 },
  "the last IPv4 addresses": { text: (address) => `255.255.255.${240 + address}`, bits: 32 },
  "some IPv4 addresses": { text: (address) => `203.0.113.${128 + address}`, bits: 32 },
  "the first IPv6 addresses": { text: (address) => `::${address.toString(16)}`, bits: 128 },
  "the last IPv6 addresses": {
    text: (address) => `ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff${address.toString(16)}`,
    bits: 128,
  },
  "v4-mapped addresses": { text: (address) => `::ffff:203.0.113.${address}`, bits: 128 },
};

interface Block {
  readonly first: number;
  readonly size: number;
}

const BLOCKS: readonly Block[] = Array.from({ length: WORLD_BITS + 1 }, (_, n) => 2 ** n).flatMap(
  (size) => Array.from({ length: WORLD / size }, (_, i) => ({ first: i * size, size })),
);

function addressesOf({ first, size }: Block): number[] {
  return Array.from({ length: size }, (_, i) => first + i);
}

function blockCidr(place: Place, { first, size }: Block): Cidr {
  return cidr(`${place.text(first)}/${place.bits - Math.log2(size)}`);
}

/**
 * The blocks that lie wholly in the set while none that holds them does. They are disjoint, and no
 * block of an exact cover can reach into two of them, so no exact cover has fewer.
 */
function largestBlocks(inSet: (address: number) => boolean): Block[] {
  const full = BLOCKS.filter((block) => addressesOf(block).every(inSet));
  const holds = (outer: Block, inner: Block) =>
    outer.size > inner.size &&
    outer.first <= inner.first &&
    inner.first + inner.size <= outer.first + outer.size;
  return full.filter((block) => !full.some((other) => holds(other, block)));
}

const someBlocks = fc.array(fc.constantFrom(...BLOCKS), { maxLength: 8 });
const somePlace = fc.constantFrom(...Object.values(PLACES));

for (const [name, place] of Object.entries(PLACES)) {
  test(`aggregate() is exact and minimal for each set of 8 of ${name}`, () => {
    for (let set = 0; set < 2 ** 8; set++) {
      const inSet = (address: number) => address < 8 && ((set >> address) & 1) === 1;
      const hosts = BLOCKS.filter(({ first, size }) => size === 1 && inSet(first));
      const expected = sortCidrs(largestBlocks(inSet).map((block) => blockCidr(place, block)));
      assert.deepEqual(aggregate(hosts.map((block) => blockCidr(place, block))), expected);
    }
  });
}

test("aggregate() is exact and minimal for networks that overlap, in any order", () => {
  fc.assert(
    fc.property(somePlace, someBlocks, (place, blocks) => {
      const held = new Set(blocks.flatMap(addressesOf));
      const expected = largestBlocks((address) => held.has(address));
      assert.deepEqual(
        aggregate(blocks.map((block) => blockCidr(place, block))),
        sortCidrs(expected.map((block) => blockCidr(place, block))),
      );
    }),
    { numRuns: 1000 },
  );
});

test("aggregate() keeps a hole of one address", () => {
  const all = Array.from({ length: 256 }, (_, i) => cidr(`198.51.100.${i}`));
  assert.deepEqual(aggregate(all), cidrs("198.51.100.0/24"));
  const holed = aggregate(all.filter((host) => host !== cidr("198.51.100.77")));
  assert.equal(holed.length, 8);
  assert.equal(addressSet(holed).overlaps(cidr("198.51.100.77")), false);
});

test("aggregate() joins neither families nor mapped addresses with their IPv4 twins", () => {
  assert.deepEqual(
    aggregate(cidrs("::203.0.113.1", "203.0.113.1", "203.0.113.0", "::ffff:203.0.113.0")),
    cidrs("203.0.113.0/31", "::cb00:7101/128", "::ffff:cb00:7100/128"),
  );
});

test("aggregate() joins two halves of everything only when both are there", () => {
  assert.deepEqual(aggregate(cidrs("0.0.0.0/1", "128.0.0.0/1")), cidrs("0.0.0.0/0"));
  assert.deepEqual(aggregate(cidrs("::/1", "8000::/1")), cidrs("::/0"));
  assert.deepEqual(aggregate(cidrs("0.0.0.0/1", "128.0.0.0/2")), cidrs("0.0.0.0/1", "128.0.0.0/2"));
});

test("aggregate() leaves its argument alone, and nothing is nothing", () => {
  const given = Object.freeze(cidrs("203.0.113.1", "203.0.113.0"));
  assert.deepEqual(aggregate(given), cidrs("203.0.113.0/31"));
  assert.deepEqual(given, cidrs("203.0.113.1", "203.0.113.0"));
  assert.deepEqual(aggregate([]), []);
});

test("addressSet() answers as counting the addresses would", () => {
  const question = fc.constantFrom(...BLOCKS);
  fc.assert(
    fc.property(somePlace, someBlocks, question, (place, blocks, asked) => {
      const set = addressSet(blocks.map((block) => blockCidr(place, block)));
      const held = new Set(blocks.flatMap(addressesOf));
      const addresses = addressesOf(asked);
      assert.equal(
        set.covers(blockCidr(place, asked)),
        addresses.every((address) => held.has(address)),
      );
      assert.equal(
        set.overlaps(blockCidr(place, asked)),
        addresses.some((address) => held.has(address)),
      );
    }),
    { numRuns: 3000 },
  );
});

test("addressSet() never takes one family for the other", () => {
  const set = addressSet(cidrs("203.0.113.0/24", "::/96"));
  for (const text of ["203.0.113.9", "::203.0.113.9"]) {
    assert.equal(set.covers(cidr(text)), true, text);
  }
  for (const text of ["::ffff:203.0.113.9", "198.51.100.1", "::1:0:0"]) {
    assert.equal(set.covers(cidr(text)), false, text);
    assert.equal(set.overlaps(cidr(text)), false, text);
  }
});

test("addressSet() sees what is only partly covered", () => {
  const set = addressSet(cidrs("203.0.113.0/25", "203.0.113.192/26"));
  assert.equal(set.covers(cidr("203.0.113.0/24")), false);
  assert.equal(set.overlaps(cidr("203.0.113.0/24")), true);
  assert.equal(set.overlaps(cidr("203.0.113.128/26")), false);
  assert.equal(set.overlaps(cidr("0.0.0.0/0")), true);
});

test("addressSet() of nothing covers and overlaps nothing", () => {
  const set = addressSet([]);
  for (const text of ["0.0.0.0/0", "::/0", "203.0.113.1", "::1"]) {
    assert.equal(set.covers(cidr(text)), false);
    assert.equal(set.overlaps(cidr(text)), false);
  }
});

test("addressSet() finds each of 10,000 hosts and nothing between them", () => {
  const hosts = Array.from({ length: 10_000 }, (_, i) => cidr(`10.0.${i >> 7}.${(i & 127) * 2}`));
  const set = addressSet(new Set(hosts));
  for (let i = 0; i < hosts.length; i++) {
    const gap = cidr(`10.0.${i >> 7}.${(i & 127) * 2 + 1}`);
    assert.equal(set.covers(hosts[i] ?? gap), true);
    assert.equal(set.overlaps(gap), false);
  }
  assert.equal(set.covers(cidr("10.0.0.0/31")), false);
});
