import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { aggregate } from "../../lib/core/aggregate.ts";
import { type Cidr, familyOf, parseCidr, sortCidrs } from "../../lib/core/cidr.ts";
import { FEED_ENTRIES_MAX } from "../../lib/core/feed.ts";
import { FEED_BYTES_MAX, formats, renderFeed } from "../../lib/feeds/formats.ts";
import { chainName, ipsetName, ipsetNextName, nftSetName } from "../../lib/feeds/names.ts";
import { cidr, cidrs } from "../core/cases.ts";
import { anyCidr, anyListName, feedOf, formatNamed, MIXED, render } from "./cases.ts";

/** What a format says, by reading it again with as little knowledge as will do. */
const READ: Readonly<Record<string, (text: string) => readonly string[]>> = {
  txt: (text) => text.split("\n").slice(0, -1),
  json: (text) => Object.values(JSON.parse(text)).filter(Array.isArray).flat(),
  nft: (text) => [...text.matchAll(/^ {6}([0-9a-f.:/]+),?$/gm)].map(([, one]) => one ?? ""),
  ipset: (text) => [...text.matchAll(/^add \S+ (\S+)$/gm)].map(([, one]) => one ?? ""),
  iptables: (text) =>
    [...text.matchAll(/^-A \S+ -s (\S+) -j ACCEPT$/gm)].map(([, one]) => one ?? ""),
  ip6tables: (text) => READ.iptables?.(text) ?? [],
  rsc: (text) => [...text.matchAll(/ add list="\S+" address="(\S+)"/g)].map(([, one]) => one ?? ""),
};

/** What it ought to say of these entries. */
function expected(format: string, entries: readonly Cidr[]): readonly Cidr[] {
  const sorted = sortCidrs(entries);
  if (format === "nft") {
    const family = (name: string) => aggregate(sorted.filter((one) => familyOf(one) === name));
    return [...family("ipv4"), ...family("ipv6")];
  }
  if (format === "iptables") return sorted.filter((one) => familyOf(one) === "ipv4");
  if (format === "ip6tables") return sorted.filter((one) => familyOf(one) === "ipv6");
  return sorted;
}

test("every format but the checksum can be read again and says exactly what it was made from", () => {
  assert.deepEqual(
    Object.keys(READ).toSorted(),
    Object.keys(formats).filter((n) => n !== "txt.md5"),
  );
  fc.assert(
    fc.property(fc.array(anyCidr, { maxLength: 20 }), anyListName, (entries, list) => {
      for (const [name, read] of Object.entries(READ)) {
        const said = read(render(name, feedOf(entries, list))).map((text) => parseCidr(text));
        assert.deepEqual(said, expected(name, entries), name);
      }
    }),
    { numRuns: 200 },
  );
});

test("the same set in any order gives the same bytes, in every format", () => {
  const shuffled = fc
    .array(anyCidr, { maxLength: 12 })
    .chain((entries) =>
      fc.tuple(
        fc.constant(entries),
        fc.shuffledSubarray(entries, { minLength: entries.length, maxLength: entries.length }),
      ),
    );
  fc.assert(
    fc.property(shuffled, ([entries, other]) => {
      for (const name of Object.keys(formats)) {
        const again = render(name, feedOf([...other, ...other]));
        assert.equal(again, render(name, feedOf(entries)), name);
      }
    }),
  );
});

test("every format is visible ASCII with LF, and ends with one newline", () => {
  fc.assert(
    fc.property(fc.array(anyCidr, { minLength: 1, maxLength: 8 }), anyListName, (entries, list) => {
      for (const name of Object.keys(formats)) {
        assert.match(render(name, feedOf(entries, list)), /^[\x20-\x7e\n]*[\x21-\x7e]\n$/, name);
      }
    }),
  );
});

const FEED = feedOf(cidrs("203.0.113.7", "10.2.0.0/24", "2001:db8::1"));

test("formats for firewalls and programs stay as they are, to the byte", () => {
  const feed = FEED;
  assert.equal(feed.serial, 1_795_208_400);
  assert.equal(render("txt", feed), "10.2.0.0/24\n203.0.113.7/32\n2001:db8::1/128\n");
  assert.equal(render("txt.md5", feed), "5b22da2fc078ed8b4c00ab35b6da0849\n");
  assert.equal(
    render("json", feed),
    [
      "{",
      '  "version": 1,',
      '  "list": "payments-db",',
      '  "revision": 1795208400,',
      '  "changedAt": "2026-11-20T21:00:00.000Z",',
      '  "ipv4": [',
      '    "10.2.0.0/24",',
      '    "203.0.113.7/32"',
      "  ],",
      '  "ipv6": [',
      '    "2001:db8::1/128"',
      "  ]",
      "}\n",
    ].join("\n"),
  );
  const [first = "", , third = "", ...rest] = render("rsc", feed).split("\n");
  assert.equal(
    first,
    ':do { /ip firewall address-list add list="ka-payments-db" address="10.2.0.0/24" ' +
      'comment="kube-allowlist 1795208400" } on-error={ :if ([:len [/ip firewall address-list ' +
      'find where list="ka-payments-db" and address="10.2.0.0/24"]] = 0) do={ :error "Cannot add ' +
      '10.2.0.0/24 to ka-payments-db" }; /ip firewall address-list set [/ip firewall ' +
      'address-list find where list="ka-payments-db" and address="10.2.0.0/24"] ' +
      'comment="kube-allowlist 1795208400" }',
  );
  assert.match(third, /^:do \{ \/ipv6 firewall address-list add .* address="2001:db8::1\/128" /);
  assert.deepEqual(rest, [
    "/ip firewall address-list remove [/ip firewall address-list find where " +
      'list="ka-payments-db" and comment!="kube-allowlist 1795208400"]',
    "/ipv6 firewall address-list remove [/ipv6 firewall address-list find where " +
      'list="ka-payments-db" and comment!="kube-allowlist 1795208400"]',
    "",
  ]);
});

test("formats for hosts stay as they are, to the byte", () => {
  const feed = FEED;
  assert.equal(
    render("nft", feed),
    [
      "add table inet kube_allowlist",
      "add set inet kube_allowlist payments_db_v4 { type ipv4_addr; flags interval; }",
      "add set inet kube_allowlist payments_db_v6 { type ipv6_addr; flags interval; }",
      "flush set inet kube_allowlist payments_db_v4",
      "flush set inet kube_allowlist payments_db_v6",
      "table inet kube_allowlist {",
      "  set payments_db_v4 {",
      "    type ipv4_addr",
      "    flags interval",
      "    elements = {",
      "      10.2.0.0/24,",
      "      203.0.113.7/32",
      "    }",
      "  }",
      "  set payments_db_v6 {",
      "    type ipv6_addr",
      "    flags interval",
      "    elements = {",
      "      2001:db8::1/128",
      "    }",
      "  }",
      "}\n",
    ].join("\n"),
  );
  assert.equal(
    render("ipset", feed),
    [
      "create ka-payments-db-v4 hash:net family inet maxelem 65536 -exist",
      "create ka-payments-db-n4 hash:net family inet maxelem 65536 -exist",
      "flush ka-payments-db-n4",
      "add ka-payments-db-n4 10.2.0.0/24",
      "add ka-payments-db-n4 203.0.113.7/32",
      "create ka-payments-db-v6 hash:net family inet6 maxelem 65536 -exist",
      "create ka-payments-db-n6 hash:net family inet6 maxelem 65536 -exist",
      "flush ka-payments-db-n6",
      "add ka-payments-db-n6 2001:db8::1/128",
      "swap ka-payments-db-n4 ka-payments-db-v4",
      "swap ka-payments-db-n6 ka-payments-db-v6",
      "destroy ka-payments-db-n4",
      "destroy ka-payments-db-n6\n",
    ].join("\n"),
  );
  assert.equal(
    render("iptables", feed),
    [
      "*filter",
      ":KA-PAYMENTS-DB - [0:0]",
      "-A KA-PAYMENTS-DB -s 10.2.0.0/24 -j ACCEPT",
      "-A KA-PAYMENTS-DB -s 203.0.113.7/32 -j ACCEPT",
      "COMMIT\n",
    ].join("\n"),
  );
  assert.equal(
    render("ip6tables", feed),
    "*filter\n:KA-PAYMENTS-DB - [0:0]\n-A KA-PAYMENTS-DB -s 2001:db8::1/128 -j ACCEPT\nCOMMIT\n",
  );
});

test("nft of a family without entries flushes its set and writes no empty braces", () => {
  const text = render("nft", feedOf(cidrs("2001:db8::1")));
  assert.match(text, /^flush set inet kube_allowlist payments_db_v4$/m);
  assert.equal(text.match(/elements = /g)?.length, 1);
  assert.doesNotMatch(text, /\{\s*\}/);
  assert.doesNotMatch(render("nft", feedOf([])), /elements/);
});

test("names for the kernel keep its limits, differ between lists and never change", () => {
  fc.assert(
    fc.property(anyListName, anyListName, (list, other) => {
      for (const family of ["ipv4", "ipv6"] as const) {
        assert.match(nftSetName(list, family), /^[a-z_][a-z0-9_]{0,254}$/);
        for (const name of [ipsetName(list, family), ipsetNextName(list, family)]) {
          assert(name.length <= 31, name);
        }
        assert.notEqual(ipsetName(list, family), ipsetNextName(list, family));
      }
      assert(chainName(list).length <= 28, chainName(list));
      if (list === other) return;
      assert.notEqual(nftSetName(list, "ipv4"), nftSetName(other, "ipv4"));
      assert.notEqual(ipsetName(list, "ipv4"), ipsetName(other, "ipv4"));
      assert.notEqual(chainName(list), chainName(other));
    }),
  );
  const long = "a-list-whose-name-is-32-long-abc";
  assert.equal(ipsetName(long, "ipv6"), "ka-a-list-whose-name-7303f51-v6");
  assert.notEqual(ipsetName(long, "ipv4"), ipsetName(`${long.slice(0, -1)}d`, "ipv4"));
  assert.equal(nftSetName("1-db", "ipv4"), "_1_db_v4");
});

/** `count` hosts of 198.18.0.0/15 and beyond, no two of which make a network. */
function apart(count: number): readonly Cidr[] {
  return Array.from({ length: count }, (_, index) => {
    const number = 2 * index;
    return cidr(`198.${18 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`);
  });
}

test(
  "renderFeed() takes as many as a format holds, and refuses one more whole, with the " + "limit",
  () => {
    for (const [name, format] of Object.entries(formats)) {
      if (format.entriesMax >= FEED_ENTRIES_MAX || name === "ip6tables") continue;
      assert.equal(renderFeed(feedOf(apart(format.entriesMax)), format).kind, "rendered", name);
      assert.deepEqual(renderFeed(feedOf(apart(format.entriesMax + 1)), format), {
        kind: "too-large",
        limit: `${format.entriesMax + 1} entries, while ${format.entriesMax} are allowed`,
      });
    }
  },
);

test("renderFeed() counts each family's set alone where they are apart", () => {
  const ipv6 = Array.from({ length: 10_000 }, (_, index) =>
    cidr(`2001:db8::${(2 * index).toString(16)}`),
  );
  const feed = feedOf([...apart(10_000), ...ipv6]);
  assert.equal(renderFeed(feed, formatNamed("iptables")).kind, "rendered");
  assert.equal(renderFeed(feed, formatNamed("ip6tables")).kind, "rendered");
});

test(
  "renderFeed() shows the largest feed as txt, json and nft, and keeps the platform's " + "limit",
  () => {
    const hex = (number: number) => number.toString(16);
    const longest = Array.from({ length: FEED_ENTRIES_MAX }, (_, index) =>
      cidr(`2001:db8:aaaa:bbbb:cccc:dddd:${hex(index >> 15)}:${hex((2 * index) & 65_535)}`),
    );
    const feed = feedOf(longest);
    for (const name of ["txt", "json", "nft"]) {
      const rendering = renderFeed(feed, formatNamed(name));
      assert.equal(rendering.kind, "rendered", name);
      if (rendering.kind === "rendered") {
        assert(Buffer.byteLength(JSON.stringify(rendering.body)) <= FEED_BYTES_MAX);
      }
    }
    const wordy = { ...formatNamed("txt"), render: () => "x".repeat(FEED_BYTES_MAX) };
    assert.equal(renderFeed(feed, wordy).kind, "too-large");
  },
);

test("sets() of every format name what it writes", () => {
  for (const [name, format] of Object.entries(formats)) {
    if (name === "txt.md5") continue;
    assert.deepEqual(
      sortCidrs(format.sets(sortCidrs(MIXED)).flat()),
      sortCidrs(expected(name, MIXED)),
    );
  }
});
