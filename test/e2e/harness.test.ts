import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { request as httpsRequest } from "node:https";
import { createConnection, createServer as createTcpServer, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { AuthorizeSecurityGroupIngressCommand, EC2Client } from "@aws-sdk/client-ec2";
import { findAsset, KUBERNETES, MOTO, skipWithout } from "./assets.ts";
import { atEnd } from "./at-end.ts";
import { killChildren, startChild, temporaryFolder } from "./child.ts";
import { eventually } from "./eventually.ts";
import { KubeApiError, type KubeApiserver, startKubeApiserver } from "./kube-apiserver.ts";
import { type Moto, type Rule, startMoto } from "./moto.ts";
import { makeLatch, startProxy, type TcpProxy } from "./proxy.ts";
import { recordHistory } from "./stage.ts";
import { makeTrap } from "./trap.ts";

/** The ground under the end-to-end tests: when one of these fails, believe no other. */

interface WatchEvent {
  readonly type: string;
  readonly object: {
    readonly code?: number;
    readonly metadata?: {
      readonly name?: string;
      readonly annotations?: Readonly<Record<string, string>>;
    };
  };
}

interface Watch {
  readonly events: WatchEvent[];
  /** HTTP status, and null until the headers are there. */
  status(): number | null;
  ended(): boolean;
  close(): void;
}

interface List {
  readonly metadata: { readonly resourceVersion: string };
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly status: { readonly addresses?: readonly { readonly address: string }[] };
  }[];
}

const INITIAL =
  "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

const withoutKubernetes = skipWithout(KUBERNETES);
const withoutMoto = skipWithout(MOTO);
let kube: KubeApiserver;
let moto: Moto;

before(async () => {
  if (!withoutKubernetes) kube = await startKubeApiserver();
  if (!withoutMoto) moto = await startMoto();
});
after(async () => {
  await Promise.all([kube?.stop(), moto?.stop()]);
  killChildren();
});

test("createNode() makes a node with its addresses in one request", {
  skip: withoutKubernetes,
}, async () => {
  const addresses = [{ type: "ExternalIP", address: "203.0.113.5" }];
  const uid = await kube.createNode({ name: "one", labels: { pool: "a" }, addresses });
  assert.match(uid, /^[0-9a-f-]{36}$/);
  const list = await kube.request<List>("GET", "/api/v1/nodes?labelSelector=pool%3Da");
  assert.deepEqual(
    list.items.map((node) => [node.metadata.name, node.status.addresses?.[0]?.address]),
    [["one", "203.0.113.5"]],
  );
  await kube.updateNodeStatus("one", [{ type: "ExternalIP", address: "203.0.113.6" }]);
  const node = await kube.request<List["items"][number]>("GET", "/api/v1/nodes/one");
  assert.deepEqual(
    node.status.addresses?.map(({ address }) => address),
    ["203.0.113.6"],
  );
  await kube.deleteNode("one");
  await assert.rejects(
    kube.request("GET", "/api/v1/nodes/one"),
    (error) => error instanceof KubeApiError && error.status === 404,
  );
});

test("a watch tells the end of the initial events with a bookmark", {
  skip: withoutKubernetes,
}, async (t) => {
  await kube.createNode({ name: "watched" });
  const watch = startWatch(kube, { path: `/api/v1/nodes?${INITIAL}` });
  atEnd(t, () => watch.close());
  const isEnd = ({ type, object }: WatchEvent) =>
    type === "BOOKMARK" && object.metadata?.annotations?.["k8s.io/initial-events-end"] === "true";
  await eventually("the bookmark is there", () => watch.events.some(isEnd), { withinMs: 10_000 });
  assert.deepEqual(
    watch.events.map(({ type, object }) => [type, object.metadata?.name]).slice(0, 1),
    [["ADDED", "watched"]],
  );
  await kube.deleteNode("watched");
  await eventually(
    "the deletion is seen",
    () => watch.events.some(({ type }) => type === "DELETED"),
    {
      withinMs: 5_000,
    },
  );
});

test("kubeconfigFor() carries a token with the rights of its service account and no more", {
  skip: withoutKubernetes,
}, async (t) => {
  await kube.request("POST", "/api/v1/namespaces", { metadata: { name: "harness" } });
  const accounts = "/api/v1/namespaces/harness/serviceaccounts";
  await kube.request("POST", accounts, { metadata: { name: "nobody" } });
  const token = await kube.createToken("harness", "nobody");
  const kubeconfig = JSON.parse(readFileSync(kube.kubeconfigFor(token, { port: 1 }), "utf8"));
  assert.equal(kubeconfig.users[0].user.token, token);
  assert.equal(kubeconfig.clusters[0].cluster.server, "https://127.0.0.1:1");
  const watch = startWatch(kube, { path: "/api/v1/nodes?watch=1", token });
  atEnd(t, () => watch.close());
  await eventually("the watch is answered", () => watch.status(), { withinMs: 5_000 });
  assert.equal(watch.status(), 403);
});

test("restart() ends watches, keeps the nodes and serves on the same port", {
  skip: withoutKubernetes,
}, async (t) => {
  await kube.createNode({ name: "survivor" });
  const watch = startWatch(kube, { path: `/api/v1/nodes?${INITIAL}` });
  atEnd(t, () => watch.close());
  await eventually("the watch is up", () => watch.events.length > 0, { withinMs: 5_000 });
  const startedAt = Date.now();
  await kube.restart({ downMs: 500 });
  t.diagnostic(`down and ready again after ${Date.now() - startedAt} ms`);
  assert.equal(watch.ended(), true);
  const list = await kube.request<List>("GET", "/api/v1/nodes");
  assert.deepEqual(
    list.items.map((node) => node.metadata.name),
    ["survivor"],
  );
  await kube.deleteNode("survivor");
});

test("pause() leaves connections open and silent until resume()", {
  skip: withoutKubernetes,
}, async () => {
  kube.pause();
  const pending = kube.request("GET", "/api/v1/nodes").then(() => "answered");
  assert.equal(await Promise.race([pending, sleep(1_000, "silent")]), "silent");
  kube.resume();
  assert.equal(await pending, "answered");
});

test("compact() and a restart make an old list and an old watch end with 410", {
  skip: withoutKubernetes,
}, async (t) => {
  const list = await kube.request<List>("GET", "/api/v1/nodes");
  const version = list.metadata.resourceVersion;
  await kube.createNode({ name: "later" });
  await kube.deleteNode("later");
  await kube.compact();
  await kube.restart();
  // Nothing remembers that version now: not the server that has just started, and not etcd.
  const exact = `/api/v1/nodes?resourceVersion=${version}&resourceVersionMatch=Exact`;
  await assert.rejects(kube.request("GET", exact), { status: 410 });
  const watch = startWatch(kube, { path: `/api/v1/nodes?watch=1&resourceVersion=${version}` });
  atEnd(t, () => watch.close());
  await eventually("the watch ends", () => watch.ended(), { withinMs: 10_000 });
  t.diagnostic(`HTTP ${watch.status()}, events ${JSON.stringify(watch.events)}`);
  assert.equal(watch.status(), 200);
  assert.deepEqual(
    watch.events.map(({ type, object }) => [type, object.code]),
    [["ERROR", 410]],
  );
});

test("the proxy cuts, swallows and freezes connections to the server", {
  skip: withoutKubernetes,
}, async (t) => {
  const proxy = await startProxy(kube.port);
  atEnd(t, () => proxy.stop());
  const path = `/api/v1/nodes?${INITIAL}`;
  const first = startWatch(kube, { path, port: proxy.port });
  atEnd(t, () => first.close());
  await eventually("the watch is up", () => first.events.length > 0, { withinMs: 5_000 });
  proxy.cut();
  await eventually("the watch is cut", () => first.ended(), { withinMs: 5_000 });

  const second = startWatch(kube, { path, port: proxy.port });
  atEnd(t, () => second.close());
  await eventually("the next watch is up", () => second.events.length > 0, { withinMs: 5_000 });
  proxy.blackHole();
  await kube.createNode({ name: "swallowed" });
  await sleep(500);
  assert.equal(namesOf(second).includes("swallowed"), false);
  proxy.heal();
  await eventually("what waited arrives", () => namesOf(second).includes("swallowed"), {
    withinMs: 5_000,
  });

  proxy.freeze();
  const third = startWatch(kube, { path, port: proxy.port });
  atEnd(t, () => third.close());
  await kube.deleteNode("swallowed");
  await eventually("a new watch works", () => third.events.length > 0, { withinMs: 5_000 });
  assert.notEqual(second.events.at(-1)?.type, "DELETED");
  assert.equal(second.ended(), false);
});

test("a security group keeps rules of both families and refuses a duplicate", {
  skip: withoutMoto,
}, async () => {
  const { ec2 } = moto;
  const group = await ec2.createSecurityGroup("harness");
  const office = { cidr: "198.51.100.7/32", protocol: "tcp", port: 5432, description: "office" };
  const other: Rule = { ...office, cidr: "2001:db8::7/128", description: "office v6" };
  await ec2.authorize(group, office);
  await ec2.authorize(group, other);
  assert.deepEqual(await ec2.rules(group), [office, other]);
  await assert.rejects(ec2.authorize(group, { ...office, description: "again" }), {
    name: "InvalidPermission.Duplicate",
  });
  await ec2.revoke(group, office);
  assert.deepEqual(await ec2.rules(group), [other]);
  await assert.rejects(ec2.revoke(group, office), { name: "InvalidPermission.NotFound" });
});

test("reset() forgets every group", { skip: withoutMoto }, async () => {
  const group = await moto.ec2.createSecurityGroup("forgotten");
  await moto.reset();
  // moto answers a filter on a missing group with no rules, and a write with an error.
  await assert.rejects(
    moto.ec2.authorize(group, {
      cidr: "192.0.2.1/32",
      protocol: "tcp",
      port: 1,
      description: "",
    }),
    { name: "InvalidGroup.NotFound" },
  );
});

test("a trap springs before the cloud hears of a call, or before its answer arrives", {
  skip: withoutMoto,
}, async (t) => {
  const trap = makeTrap();
  const proxy = await startProxy(moto.port, { tap: trap.tap });
  atEnd(t, () => proxy.stop());
  const group = await moto.ec2.createSecurityGroup("trapped");
  const client = new EC2Client({
    endpoint: `http://127.0.0.1:${proxy.port}`,
    region: moto.region,
    credentials: { accessKeyId: "test", secretAccessKey: "test" },
    maxAttempts: 1,
  });
  atEnd(t, () => client.destroy());
  const authorize = (host: number) =>
    client.send(
      new AuthorizeSecurityGroupIngressCommand({
        GroupId: group,
        IpPermissions: [
          {
            IpProtocol: "tcp",
            FromPort: 1,
            ToPort: 1,
            IpRanges: [{ CidrIp: `192.0.2.${host}/32` }],
          },
        ],
      }),
    );
  const cidrs = async () => (await moto.ec2.rules(group)).map(({ cidr }) => cidr);
  const action = "AuthorizeSecurityGroupIngress";
  let springs = 0;
  const spring = async () => {
    springs += 1;
  };
  trap.set("RevokeSecurityGroupIngress", "before the cloud hears of it", spring);
  await authorize(1);
  assert.deepEqual([trap.sprung(), await cidrs()], [false, ["192.0.2.1/32"]]);
  trap.set(action, "before the cloud hears of it", spring);
  await assert.rejects(authorize(2));
  assert.deepEqual([trap.sprung(), await cidrs()], [true, ["192.0.2.1/32"]]);
  trap.set(action, "before its answer arrives", spring);
  await assert.rejects(authorize(3));
  assert.deepEqual([trap.sprung(), await cidrs()], [true, ["192.0.2.1/32", "192.0.2.3/32"]]);
  assert.equal(springs, 2);
});

test("skipWithout() names the missing asset, its variable and a way to get it", () => {
  const found = findAsset(MOTO, {});
  assert.equal(found.kind, "missing");
  assert.match(found.reason, /KUBE_ALLOWLIST_MOTO is not set.*pip install/);
  const wrong = findAsset(KUBERNETES, { KUBEBUILDER_ASSETS: "/nowhere" });
  assert.equal(wrong.kind, "missing");
  assert.match(wrong.reason, /no program \/nowhere\/etcd, \/nowhere\/kube-apiserver/);
});

test("startProxy() passes bytes unchanged, delays them, lets a tap hold them", async (t) => {
  const server = createServer((request, response) => {
    request.on("data", () => undefined).on("end", () => response.end("x".repeat(3_000_000)));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  atEnd(t, () => server.close());
  const held = makeLatch();
  const seen: string[] = [];
  const proxy: TcpProxy = await startProxy(address.port, {
    tap: (piece, direction) => {
      if (direction !== "up") return;
      seen.push(piece.toString("latin1"));
      return held.opened;
    },
  });
  atEnd(t, () => proxy.stop());
  const answer = fetch(`http://127.0.0.1:${proxy.port}/path`, { method: "POST", body: "hello" });
  await eventually("the tap saw the request", () => seen.join("").includes("POST /path"), {
    withinMs: 2_000,
  });
  assert.equal(await Promise.race([answer, sleep(200, "held")]), "held");
  held.open();
  assert.equal((await (await answer).text()).length, 3_000_000);
  proxy.delay(300);
  const startedAt = performance.now();
  await fetch(`http://127.0.0.1:${proxy.port}/`, { method: "HEAD" });
  assert.ok(performance.now() - startedAt >= 590, "a request and its answer are delayed");
});

test("recordHistory() tells gaps after the first complete state, and changes", async (t) => {
  let own: readonly string[] = [];
  const history = recordHistory({ own: async () => own });
  atEnd(t, () => history.stop());
  const show = async (...cidrs: readonly string[]) => {
    own = cidrs;
    await eventually(
      "the state was sampled",
      () => history.states().at(-1)?.cidrs.join() === own.join(),
      {
        withinMs: 2_000,
        everyMs: 10,
      },
    );
  };
  await show();
  await show("a", "b");
  assert.deepEqual(history.gaps(["a"]), []);
  await show("b");
  const before = Date.now();
  await show("a", "b", "c");
  assert.deepEqual(history.gaps(["a"]), [["b"]]);
  assert.deepEqual(history.gaps(["b"]), []);
  assert.equal(history.gaps(["never"]).length, history.states().length);
  assert.ok((history.lastSeen("b") ?? 0) >= before && history.lastSeen("never") === null);
  const changes = history.lines().map((line) => line.replace(/^\+[0-9.]+ s /, ""));
  assert.deepEqual(changes, ["+ a", "+ b", "- a", "+ a", "+ c"]);
});

test("atEnd() runs everything, the last first, although something fails", async (t) => {
  const order: number[] = [];
  const hooks: (() => Promise<void>)[] = [];
  const context = { after: (hook: () => Promise<void>) => hooks.push(hook) } as unknown as typeof t;
  atEnd(context, () => order.push(1));
  atEnd(context, () => Promise.reject(new Error("second")));
  atEnd(context, () => order.push(3));
  assert.equal(hooks.length, 1);
  await assert.rejects(async () => hooks[0]?.(), /second/);
  assert.deepEqual(order, [3, 1]);
});

test("startProxy() passes the end of one direction on and keeps the other open", async (t) => {
  // One server answers after its client has ended; the other has ended and still listens.
  const answerLate = async (socket: Socket) => {
    const text = (await socket.setEncoding("utf8").toArray()).join("");
    setTimeout(() => socket.end(text.toUpperCase()), 50);
  };
  let heard = "";
  const hearLate = async (socket: Socket) => {
    socket.end("ended");
    heard = (await socket.setEncoding("utf8").toArray()).join("");
  };
  const connect = async (serve: (socket: Socket) => Promise<void>) => {
    const server = createTcpServer({ allowHalfOpen: true }, (socket) => void serve(socket));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    atEnd(t, () => server.close());
    const address = server.address();
    assert.ok(address !== null && typeof address === "object");
    const proxy = await startProxy(address.port);
    atEnd(t, () => proxy.stop());
    return createConnection({ host: "127.0.0.1", port: proxy.port, allowHalfOpen: true });
  };
  const first = await connect(answerLate);
  first.end("hello");
  assert.equal((await first.setEncoding("utf8").toArray()).join(""), "HELLO");
  const second = await connect(hearLate);
  assert.equal((await second.setEncoding("utf8").toArray()).join(""), "ended");
  second.end("late");
  await eventually("the server heard", () => heard === "late", { withinMs: 2_000 });
});

test("startChild() stops a stopped process, and a process that ignores SIGTERM", async () => {
  const folder = temporaryFolder("child");
  const script = "process.on('SIGTERM', () => {}); console.log('up'); setInterval(() => {}, 1000)";
  const stubborn = await startChild(process.execPath, ["-e", script], { env: {}, folder });
  await eventually("it is up", () => stubborn.stdout().includes("up"), { withinMs: 5_000 });
  stubborn.kill("SIGSTOP");
  assert.deepEqual(await stubborn.stop(200), { code: null, signal: "SIGKILL" });
  assert.throws(() => process.kill(stubborn.pid, 0), { code: "ESRCH" });
});

test("startChild() leaves no process and no folder when the tests are terminated", async () => {
  const module = JSON.stringify(new URL("./child.ts", import.meta.url).href);
  const script = `
    const { startChild, temporaryFolder } = await import(${module});
    const folder = temporaryFolder("orphan");
    const args = ["-e", "setInterval(() => {}, 1000)"];
    const child = await startChild(process.execPath, args, { env: {}, folder });
    console.log(JSON.stringify({ pid: child.pid, folder }));`;
  const parent = await startChild(process.execPath, ["--input-type=module", "-e", script], {
    env: {},
    folder: temporaryFolder("parent"),
  });
  await eventually("it has a child", () => parent.stdout().includes("}"), { withinMs: 10_000 });
  const { pid, folder } = JSON.parse(parent.stdout());
  assert.equal((await parent.stop()).code, 143);
  await eventually("the child is gone", () => !alive(pid), { withinMs: 5_000 });
  assert.throws(() => readFileSync(folder), { code: "ENOENT" });
});

function startWatch(
  kube: KubeApiserver,
  options: { readonly path: string; readonly port?: number; readonly token?: string },
): Watch {
  const events: WatchEvent[] = [];
  const state = { status: null as number | null, ended: false, rest: "" };
  const outgoing = httpsRequest(
    {
      host: "127.0.0.1",
      port: options.port ?? kube.port,
      path: options.path,
      ca: readFileSync(kube.caFile),
      agent: false,
      headers: { authorization: `Bearer ${options.token ?? kube.token}` },
    },
    (answer) => {
      state.status = answer.statusCode ?? 0;
      answer.setEncoding("utf8").on("data", (text: string) => {
        const lines = (state.rest + text).split("\n");
        state.rest = lines.pop() ?? "";
        for (const line of lines) events.push(JSON.parse(line));
      });
      answer.on("error", () => undefined);
      answer.on("close", () => {
        state.ended = true;
      });
    },
  );
  outgoing.on("error", () => {
    state.ended = true;
  });
  outgoing.end();
  return {
    events,
    status: () => state.status,
    ended: () => state.ended,
    close: () => outgoing.destroy(),
  };
}

function namesOf(watch: Watch): readonly (string | undefined)[] {
  return watch.events.map(({ object }) => object.metadata?.name);
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
