import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startEmbeddedEc2 } from "../../cli/embedded/ec2.ts";
import { ec2Groups } from "../../cli/embedded/ec2-groups.ts";
import { ec2PrefixLists } from "../../cli/embedded/ec2-prefix-lists.ts";
import type { Ec2Subnet } from "../../cli/embedded/ec2-subnets.ts";
import {
  DESCRIBE_MS_MAX,
  ENTRIES_MS_MAX,
  MODIFY_MS_MAX,
} from "../../lib/clouds/aws/prefix-lists.ts";
import type { AwsConnection } from "../../lib/clouds/aws/session.ts";
import { IP_SET_MS_MAX, openIpSets } from "../../lib/clouds/aws/waf.ts";
import { openPrefixLists, openSubnets } from "../../lib/clouds/aws.ts";
import { prefixListKind } from "../../lib/targets/aws/prefix-list.ts";
import { ipSetKind } from "../../lib/targets/aws/waf-ip-set.ts";
import { faultyPrefixLists } from "../fakes/ec2-prefix-lists.ts";
import { failure, outlasting, serve } from "../fakes/ec2-server.ts";
import { startFakeWaf } from "../fakes/waf.ts";
import { virtualWorld } from "../virtual-world.ts";

const SIGNAL = new AbortController().signal;
const LIST = "pl-0a1b";
const KEY = {
  id: "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
  name: "nodes",
  scope: "REGIONAL",
} as const;
const CHANGE = { version: 1, add: [{ cidr: "192.0.2.1/32", description: "x" }], remove: [] };

type Open<C> = (connection: AwsConnection, context: Parameters<typeof openSubnets>[1]) => C;

function opened<C>(open: Open<C>, endpoint: string, world = virtualWorld()): C {
  const connection = { region: "eu-west-1", endpoint, stsEndpoint: null, role: null };
  const env = { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "canary-of-the-secret-key" };
  return open(connection, { world, env });
}

async function startSubnets(context: TestContext, ...subnets: readonly Ec2Subnet[]) {
  const server = await startEmbeddedEc2({ groups: ec2Groups([]), subnets });
  context.after(() => server.close());
  return opened(openSubnets, server.url);
}

test("describe() of a subnet gives its IPv4 block and the IPv6 blocks that are associated", async (context) => {
  const ipv6 = [
    { cidr: "2001:db8:0:1::/64", state: "associated" },
    { cidr: "2001:db8:0:2::/64", state: "disassociating" },
    { cidr: "2001:db8:0:3::/64", state: "associated" },
    { cidr: "2001:db8:0:4::/64", state: "associating" },
  ];
  const client = await startSubnets(
    context,
    { id: "subnet-1", cidr: "10.2.0.0/20", free: 4_001 },
    { id: "subnet-2", cidr: "10.2.16.0/20", free: 0, ipv6 },
    { id: "subnet-3", cidr: null, ipv6: ipv6.slice(0, 1) },
  );
  assert.deepEqual(await client.describe("subnet-1", SIGNAL), {
    cidrs: ["10.2.0.0/20"],
    free: 4_001,
  });
  assert.deepEqual(await client.describe("subnet-2", SIGNAL), {
    cidrs: ["10.2.16.0/20", "2001:db8:0:1::/64", "2001:db8:0:3::/64"],
    free: 0,
  });
  // A subnet of IPv6 alone counts no addresses.
  assert.deepEqual(await client.describe("subnet-3", SIGNAL), {
    cidrs: ["2001:db8:0:1::/64"],
    free: null,
  });
});

test("describe() of a subnet is null where there is none, and for no other reason", async (context) => {
  const client = await startSubnets(context);
  assert.equal(await client.describe("subnet-1", SIGNAL), null);
  for (const code of ["UnauthorizedOperation", "InvalidGroup.NotFound", "RequestLimitExceeded"]) {
    const endpoint = await serve(context, (_body, _request, response) => {
      const error = `<Response><Errors><Error><Code>${code}</Code></Error></Errors></Response>`;
      response.writeHead(400, { "content-type": "text/xml" }).end(error);
    });
    assert.equal(
      (await failure(opened(openSubnets, endpoint).describe("subnet-1", SIGNAL))).code,
      code,
    );
  }
});

/** What a client makes of an answer with these members, and with each of them missing. */
async function withoutEach(
  context: TestContext,
  answer: { readonly members: Readonly<Record<string, string>>; wrap(xml: string): string },
  ask: (endpoint: string) => Promise<unknown>,
): Promise<void> {
  const serveXml = (xml: string) =>
    serve(context, (_body, _request, response) => response.end(answer.wrap(xml)));
  const xmlOf = (members: readonly (readonly [string, string])[]) =>
    members.map(([name, text]) => `<${name}>${text}</${name}>`).join("");
  const members = Object.entries(answer.members);
  assert(await ask(await serveXml(xmlOf(members))));
  for (const [left] of members) {
    const xml = xmlOf(members.filter(([name]) => name !== left));
    const error = await failure(ask(await serveXml(xml)));
    assert.deepEqual([error.kind, error.code], ["unavailable", "UnreadableAnswer"], left);
  }
  for (const other of ["", "<html>Please log in</html>", "{}"]) {
    const endpoint = await serve(context, (_body, _request, response) => response.end(other));
    assert.equal((await failure(ask(endpoint))).kind, "unavailable", other);
  }
}

test("describe() of a subnet rejects an answer that it does not understand whole", async (context) => {
  await withoutEach(
    context,
    {
      members: { subnetId: "subnet-1", cidrBlock: "10.2.0.0/20" },
      wrap: (xml) =>
        `<DescribeSubnetsResponse><subnetSet><item>${xml}</item></subnetSet></DescribeSubnetsResponse>`,
    },
    (endpoint) => opened(openSubnets, endpoint).describe("subnet-1", SIGNAL),
  );
});

const LIST_MEMBERS = {
  prefixListId: LIST,
  addressFamily: "IPv4",
  state: "modify-complete",
  maxEntries: "10",
  version: "7",
};

test("describe() of a prefix list rejects an answer that it does not understand whole", async (context) => {
  const name = "DescribeManagedPrefixListsResponse";
  await withoutEach(
    context,
    {
      members: LIST_MEMBERS,
      wrap: (xml) => `<${name}><prefixListSet><item>${xml}</item></prefixListSet></${name}>`,
    },
    (endpoint) => opened(openPrefixLists, endpoint).describe(LIST, SIGNAL),
  );
});

test("modify() of a prefix list rejects an answer that it does not understand whole", async (context) => {
  const name = "ModifyManagedPrefixListResponse";
  await withoutEach(
    context,
    {
      members: LIST_MEMBERS,
      wrap: (xml) => `<${name}><prefixList>${xml}</prefixList></${name}>`,
    },
    (endpoint) => opened(openPrefixLists, endpoint).modify(LIST, CHANGE, SIGNAL),
  );
});

test("entries() rejects an answer that it does not understand whole, or that has no end", async (context) => {
  const name = "GetManagedPrefixListEntriesResponse";
  const ask = (endpoint: string) => opened(openPrefixLists, endpoint).entries(LIST, 1, SIGNAL);
  await withoutEach(
    context,
    {
      members: { cidr: "192.0.2.1/32" },
      wrap: (xml) => `<${name}><entrySet><item>${xml}<x/></item></entrySet></${name}>`,
    },
    ask,
  );
  let pages = 0;
  const endless = await serve(context, (_body, _request, response) => {
    pages += 1;
    response.end(`<${name}><entrySet/><nextToken>again</nextToken></${name}>`);
  });
  assert.equal((await failure(ask(endless))).code, "UnreadableAnswer");
  assert.equal(pages, 100);
});

test("describe() of a prefix list with a resolver that does not say whether it writes takes it for one that does", async (context) => {
  const synced = async (more: string) => {
    const members = Object.entries(LIST_MEMBERS).map(
      ([name, text]) => `<${name}>${text}</${name}>`,
    );
    const item = `<item>${members.join("")}${more}</item>`;
    const name = "DescribeManagedPrefixListsResponse";
    const endpoint = await serve(context, (_body, _request, response) =>
      response.end(`<${name}><prefixListSet>${item}</prefixListSet></${name}>`),
    );
    const status = await opened(openPrefixLists, endpoint).describe(LIST, SIGNAL);
    return status !== "aws-managed" && status.synced;
  };
  const enabled = (text: string) =>
    `<ipamPrefixListResolverSyncEnabled>${text}</ipamPrefixListResolverSyncEnabled>`;
  const resolver = "<ipamPrefixListResolverTargetId>x</ipamPrefixListResolverTargetId>";
  assert.equal(await synced(""), false);
  assert.equal(await synced(enabled("true")), true);
  assert.equal(await synced(resolver), true);
  assert.equal(await synced(resolver + enabled("false")), false);
});

test("get() rejects a set that it does not understand whole", async (context) => {
  const IPSet = { Id: KEY.id, Name: KEY.name, ARN: "x", IPAddressVersion: "IPV4", Addresses: [] };
  const whole = { IPSet, LockToken: "0d5c" };
  const ask = async (answer: unknown) => {
    const endpoint = await serve(context, (_body, _request, response) =>
      response.end(typeof answer === "string" ? answer : JSON.stringify(answer)),
    );
    return opened(openIpSets, endpoint).get(KEY, SIGNAL);
  };
  assert.deepEqual(await ask(whole), {
    family: "ipv4",
    addresses: [],
    description: null,
    lockToken: "0d5c",
  });
  const set = (change: object) => ({ ...whole, IPSet: { ...IPSet, ...change } });
  const answers = [
    {},
    { IPSet },
    { LockToken: "0d5c" },
    { ...whole, LockToken: "" },
    set({ Addresses: undefined }),
    set({ Addresses: "192.0.2.1/32" }),
    set({ Addresses: [7] }),
    set({ IPAddressVersion: "IPV5" }),
    set({ Id: "another" }),
    "<html>Please log in</html>",
    "",
  ];
  for (const answer of answers) {
    assert.equal((await failure(ask(answer))).kind, "unavailable", JSON.stringify(answer));
  }
});

test("update() of a set rejects an answer that does not say which content it made", async (context) => {
  const endpoint = await serve(context, (_body, _request, response) => response.end("{}"));
  const content = { addresses: [], description: null, lockToken: "x" };
  const error = await failure(opened(openIpSets, endpoint).update(KEY, content, SIGNAL));
  assert.deepEqual([error.kind, error.code], ["unavailable", "UnreadableAnswer"]);
});

test("every call to a prefix list ends within the time that its traits promise", async (context) => {
  const { callMs } = prefixListKind.traits({ region: "eu-west-1", id: LIST });
  assert(DESCRIBE_MS_MAX + ENTRIES_MS_MAX <= callMs && MODIFY_MS_MAX <= callMs);
  const backend = faultyPrefixLists(ec2PrefixLists([{ id: LIST }]));
  const server = await startEmbeddedEc2({ groups: ec2Groups([]), prefixLists: backend });
  context.after(() => server.close());
  const world = virtualWorld();
  const client = opened(openPrefixLists, server.url, world);
  for (const operation of ["describe", "entries", "modify"] as const) {
    backend.inject(operation, { kind: "hang" });
  }
  const reached = (operation: "describe" | "entries" | "modify") => () =>
    backend.calls[operation] > 0;
  const codes = [
    await outlasting(world, client.describe(LIST, SIGNAL), {
      reached: reached("describe"),
      ms: DESCRIBE_MS_MAX,
    }),
    await outlasting(world, client.entries(LIST, 1, SIGNAL), {
      reached: reached("entries"),
      ms: ENTRIES_MS_MAX,
    }),
    await outlasting(world, client.modify(LIST, CHANGE, SIGNAL), {
      reached: reached("modify"),
      ms: MODIFY_MS_MAX,
    }),
  ].map(({ kind, code, operation }) => `${kind} ${code} ${operation}`);
  assert.deepEqual(codes, [
    "unavailable TimeoutError ec2:DescribeManagedPrefixLists",
    "unavailable TimeoutError ec2:GetManagedPrefixListEntries",
    "unavailable TimeoutError ec2:ModifyManagedPrefixList",
  ]);
});

test("every call to a set ends within the time that its traits promise", async (context) => {
  const { callMs } = ipSetKind.traits({ name: "nodes", id: KEY.id, usedBy: "allow" });
  assert(2 * IP_SET_MS_MAX <= callMs);
  const waf = await startFakeWaf({ set: {}, secret: "canary" });
  context.after(() => waf.close());
  const world = virtualWorld();
  const client = opened(openIpSets, waf.url, world);
  waf.inject("get", { kind: "hang" });
  waf.inject("update", { kind: "hang" });
  const got = await outlasting(world, client.get(KEY, SIGNAL), {
    reached: () => waf.calls.get > 0,
    ms: IP_SET_MS_MAX,
  });
  assert.deepEqual([got.code, got.operation], ["TimeoutError", "wafv2:GetIPSet"]);
  const content = { addresses: [], description: null, lockToken: "x" };
  const updated = await outlasting(world, client.update(KEY, content, SIGNAL), {
    reached: () => waf.calls.update > 0,
    ms: IP_SET_MS_MAX,
  });
  assert.deepEqual([updated.code, updated.operation], ["TimeoutError", "wafv2:UpdateIPSet"]);
});
