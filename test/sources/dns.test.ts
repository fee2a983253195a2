import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import { dnsClient } from "../../lib/sources/dns.ts";
import { NameError, readName } from "../../lib/sources/names.ts";
import { NAT } from "../core/cases.ts";
import {
  type DnsQuestion,
  type DnsRecord,
  type DnsReply,
  dnsServer,
  NXDOMAIN,
  REFUSED,
  SERVFAIL,
} from "../fakes/dns.ts";

const never = new AbortController().signal;

const a = (...address: readonly number[]): DnsRecord => ({ type: "A", address });
const records = (...given: readonly DnsRecord[]): DnsReply => ({ kind: "records", records: given });

async function serve(t: TestContext, reply: (question: DnsQuestion) => DnsReply) {
  const server = await dnsServer(reply);
  t.after(() => server.close());
  return { ...server, client: dnsClient([server.server]) };
}

const rejectsWith = (code: string) => (error: unknown) =>
  error instanceof NameError && error.code === code;

test("dnsClient() asks the name servers for each family, for this very name", async (t) => {
  const { client, questions } = await serve(t, ({ type }) =>
    type === "A"
      ? records(a(8, 8, 8, 8), a(8, 8, 4, 4))
      : records({ type: "AAAA", address: [0x26, 6, 0x47, 0, ...Array(11).fill(0), 1] }),
  );
  const ipv4 = await client.resolve("nat.example.com", "ipv4", never);
  assert.deepEqual(ipv4.toSorted(), ["8.8.4.4", "8.8.8.8"]);
  assert.deepEqual(await client.resolve("nat.example.com", "ipv6", never), ["2606:4700::1"]);
  assert.deepEqual(questions, [
    { name: "nat.example.com", type: "A" },
    { name: "nat.example.com", type: "AAAA" },
  ]);
});

test("dnsClient() does not look into the hosts file of this machine", async (t) => {
  const { client, questions } = await serve(t, () => ({ kind: "error", code: NXDOMAIN }));
  await assert.rejects(client.resolve("localhost", "ipv4", never), rejectsWith("ENOTFOUND"));
  assert.equal(questions.length, 1);
});

test("dnsClient() follows aliases to their end, and takes nothing that stands beside them", async (t) => {
  const { client } = await serve(t, ({ name }) =>
    name === "nat.example.com"
      ? records(
          { type: "CNAME", target: "b.example.com" },
          { type: "CNAME", owner: "b.example.com", target: "c.example.com" },
          { ...a(8, 8, 8, 8), owner: "c.example.com" },
        )
      : records({ type: "CNAME", target: "nowhere.example.com" }),
  );
  assert.deepEqual(await client.resolve("nat.example.com", "ipv4", never), ["8.8.8.8"]);
  assert.deepEqual(await client.resolve("dangling.example.com", "ipv4", never), []);
});

test("dnsClient() tells an empty answer from a name that does not exist and from a server that fails", async (t) => {
  let reply: DnsReply = records();
  const { client } = await serve(t, () => reply);
  assert.deepEqual(await client.resolve("nat.example.com", "ipv4", never), []);
  const codes = [
    [NXDOMAIN, "ENOTFOUND"],
    [SERVFAIL, "ESERVFAIL"],
    [REFUSED, "EREFUSED"],
  ] as const;
  for (const [code, expected] of codes) {
    reply = { kind: "error", code };
    const asked = client.resolve("nat.example.com", "ipv4", never);
    await assert.rejects(asked, rejectsWith(expected), expected);
  }
});

test("dnsClient() reads a thousand addresses, which need more than one packet", async (t) => {
  const many = Array.from({ length: 1_000 }, (_, index) => a(9, 0, index >> 8, index & 255));
  const { client, questions } = await serve(t, () => records(...many));
  const found = await client.resolve("nat.example.com", "ipv4", never);
  assert.equal(new Set(found).size, 1_000);
  assert.equal(questions.length, 2, "cut over UDP, whole over TCP");
});

test("dnsClient() ends at once when it is aborted, and says it was the time", async (t) => {
  const { client } = await serve(t, () => ({ kind: "silence" }));
  const aborting = new AbortController();
  const asked = readName(NAT, client, aborting.signal);
  await new Promise((resolve) => setImmediate(resolve));
  const before = process.hrtime.bigint();
  aborting.abort(new Error("no answer in time"));
  const outcome = await asked;
  assert(process.hrtime.bigint() - before < 500_000_000n, "nothing waits for the name server");
  assert(outcome.kind === "failed");
  assert.match(outcome.message, /ended in ETIMEOUT; it is tried again/);
});

test("dnsClient() has no name server to ask where none listens", async () => {
  const asked = dnsClient(["127.0.0.1:1"]).resolve("nat.example.com", "ipv4", never);
  await assert.rejects(asked, (error) => error instanceof NameError);
});
