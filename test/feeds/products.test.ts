import assert from "node:assert/strict";
import { test } from "node:test";
import { aggregate } from "../../lib/core/aggregate.ts";
import { type Cidr, sortCidrs } from "../../lib/core/cidr.ts";
import { cidrs, hosts } from "../core/cases.ts";
import { feedOf, MIXED, render } from "./cases.ts";
import {
  makeRouter,
  readCisco,
  readFortiGate,
  readOpnsense,
  readOpnsenseJson,
  readPaloAlto,
} from "./readers.ts";

const SORTED = sortCidrs(MIXED);

function offerOf(entries: readonly Cidr[]) {
  const feed = feedOf(entries);
  const text = render("txt", feed);
  return { checksum: render("txt.md5", feed), length: Buffer.byteLength(text), text };
}

test("txt is what Palo Alto reads: every line an entry, none skipped", () => {
  const text = render("txt", feedOf(MIXED));
  assert.deepEqual(readPaloAlto(text), { entries: SORTED, skipped: 0 });
});

test("txt is what FortiGate reads: every line valid", () => {
  const text = render("txt", feedOf(MIXED));
  assert.deepEqual(readFortiGate(text), { entries: SORTED, errors: 0 });
});

test("txt and txt.md5 are what Cisco reads: the sum changes with the list, and only then", () => {
  const first = readCisco(null, offerOf(hosts(3)));
  assert.deepEqual(first.entries, hosts(3));
  assert.equal(readCisco(first, offerOf(hosts(3).toReversed())), first, "nothing is fetched");
  assert.deepEqual(readCisco(first, offerOf(hosts(2))).entries, hosts(2));
});

test("a download for Cisco that is cut short is told by its length and its sum, wherever it is cut", () => {
  const offer = offerOf(hosts(3));
  for (let end = 0; end < offer.text.length; end += 1) {
    const text = offer.text.slice(0, end);
    assert.throws(() => readCisco(null, { ...offer, text }), /cut short/);
    assert.throws(() => readCisco(null, { ...offer, text, length: end }), /checksum/);
  }
});

test("txt and json are what an OPNsense URL table reads", () => {
  assert.deepEqual(readOpnsense(render("txt", feedOf(MIXED))), SORTED);
  assert.deepEqual(readOpnsenseJson(render("json", feedOf(MIXED))), SORTED);
});

test("rsc makes a MikroTik address list that holds exactly the feed, in both menus", () => {
  const router = makeRouter();
  router.import(render("rsc", feedOf(MIXED)));
  assert.deepEqual(
    router.addresses("ka-payments-db"),
    SORTED.map((cidr) => cidr.replace(/\/32$/, "")),
  );
  router.import(render("rsc", feedOf(MIXED)));
  assert.equal(router.addresses("ka-payments-db").length, MIXED.length, "importing is idempotent");
});

test("rsc replaces the list, and leaves every other list alone", () => {
  const router = makeRouter();
  router.add("/ip", { list: "office", address: "198.51.100.7", comment: "" });
  router.add("/ip", { list: "ka-payments-db", address: "198.51.100.8", comment: "by hand" });
  router.import(render("rsc", feedOf(hosts(3))));
  const later = { ...feedOf(hosts(3, 2)), serial: feedOf([]).serial + 1 };
  router.import(render("rsc", later));
  assert.deepEqual(router.addresses("ka-payments-db").toSorted(), [
    "203.0.113.2",
    "203.0.113.3",
    "203.0.113.4",
  ]);
  assert.deepEqual(router.addresses("office"), ["198.51.100.7"]);
});

test("rsc removes nothing before everything is there, wherever the file is cut", () => {
  const before = feedOf(hosts(3));
  const after = { ...feedOf([...hosts(3, 3), ...cidrs("2001:db8::1")]), serial: before.serial + 1 };
  const lines = render("rsc", after).split("\n").slice(0, -1);
  for (let count = 0; count <= lines.length - 2; count += 1) {
    const router = makeRouter();
    router.import(render("rsc", before));
    router.import(lines.slice(0, count).join("\n"));
    const held = router.addresses("ka-payments-db");
    for (const host of hosts(3))
      assert(held.includes(host.replace("/32", "")), `${count}: ${host}`);
  }
});

test("rsc removes nothing when the router has no room for all of it", () => {
  const router = makeRouter({ entriesMax: 4 });
  router.import(render("rsc", feedOf(hosts(3))));
  const later = { ...feedOf(hosts(3, 3)), serial: feedOf([]).serial + 1 };
  assert.throws(() => router.import(render("rsc", later)), /Cannot add 203.0.113.5 to ka-paym/);
  const held = router.addresses("ka-payments-db");
  for (const host of hosts(3)) assert(held.includes(host.replace("/32", "")), host);
});

test("nft holds the same addresses as the others, in networks that do not overlap", () => {
  const text = render("nft", feedOf(MIXED));
  const elements = [...text.matchAll(/^ {6}(\S+?),?$/gm)].map(([, element]) => element);
  assert.deepEqual(elements, aggregate(MIXED));
});
