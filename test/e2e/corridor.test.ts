import assert from "node:assert/strict";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Generation } from "../../lib/core/snapshot.ts";
import { KUBERNETES, MOTO, skipWithout } from "./assets.ts";
import { atEnd } from "./at-end.ts";
import { killChildren } from "./child.ts";
import { eventually } from "./eventually.ts";
import { type KubeApiserver, startKubeApiserver } from "./kube-apiserver.ts";
import { type Moto, type Rule, startMoto } from "./moto.ts";
import { type Program, runProgram } from "./program.ts";
import { startProxy } from "./proxy.ts";
import {
  GRACE_MS,
  grantForwarder,
  type History,
  handMadeAtFirst,
  NAMESPACE,
  type Receiver,
  recordHistory,
  type Stage,
  setStage,
  startDev,
  startForwarder,
  startServe,
  untilOwn,
} from "./stage.ts";
import { type Moment, makeTrap } from "./trap.ts";

/*
 * The whole product between a real Kubernetes API server and a third-party EC2: a user's commands
 * on one side, nodes and rules on the other. What is true is read from the security group, never
 * from the product.
 */

/** A node joins, everything idle: a rule within seconds. */
const ADD_MS = 30_000;
/** Grace, the delivery that the receiver asked for after it, and a resync. */
const REMOVE_MS = GRACE_MS + 45_000;
/** Longer than a grace and the delivery after it would take. */
const STOPPED_MS = GRACE_MS + 10_000;
/** A Lease runs out after 15 s, a lost connection is tried again within 30 s. */
const RECOVER_MS = 90_000;
/** What a killed receiver held is free again after at most 65 s. */
const LEASE_MS = 150_000;
/** Two missed bookmarks, or the end of the longest watch. */
const WATCHDOG_MS = 400_000;

const skip = skipWithout(KUBERNETES, MOTO);
let kube: KubeApiserver;
let moto: Moto;
let token: string;

before(async () => {
  if (skip) return;
  kube = await startKubeApiserver();
  moto = await startMoto();
  token = await grantForwarder(kube);
});
after(async () => {
  await Promise.all([kube?.stop(), moto?.stop()]);
  killChildren();
});

test("dev: a node's rule comes, follows its address and goes after the grace", {
  skip,
}, async (t) => {
  const stage = await setStage(moto, { name: "single", clusters: ["west"] });
  const history = follow(t, stage);
  const nodes = nodesOf(t, kube, stage);
  await nodes.join(11, 12, 13, 14);
  const dev = await startDev(stage, { cluster: "west", kubeconfig: kube.kubeconfig });
  stopAfter(t, dev.program);
  const programs = [dev.program];
  await untilOwn(stage, hosts(11, 12, 13, 14), { withinMs: ADD_MS, programs });

  await nodes.join(15);
  const addedMs = await untilOwn(stage, hosts(11, 12, 13, 14, 15), {
    withinMs: ADD_MS,
    programs,
  });
  t.diagnostic(`from the node's creation to its rule: ${addedMs} ms`);

  const changedAt = Date.now();
  await nodes.move(15, externalIp("203.0.113.25"), externalIp("2001:DB8:0::25"));
  const moved = ["2001:db8::25/128", ...hosts(25)];
  const both = [...hosts(11, 12, 13, 14, 15), ...moved];
  await untilOwn(stage, both, { withinMs: ADD_MS, programs });
  const changed = [...hosts(11, 12, 13, 14), ...moved];
  await untilOwn(stage, changed, { withinMs: REMOVE_MS, programs });
  assertGrace(t, history, { cidr: "203.0.113.15/32", since: changedAt });

  const deletedAt = Date.now();
  await nodes.leave(14);
  const rest = changed.filter((cidr) => cidr !== "203.0.113.14/32");
  await untilOwn(stage, rest, { withinMs: REMOVE_MS, programs });
  assertGrace(t, history, { cidr: "203.0.113.14/32", since: deletedAt });

  assert.deepEqual(history.gaps(hosts(11, 12, 13)), []);
  assert.deepEqual(await stage.handMade(), handMadeAtFirst());
  await untilConverged(dev);
  assert.equal(await exitCode(stage, "verify"), 0);
  dev.program.kill("SIGINT");
  assert.deepEqual(await dev.program.exited, { code: 0, signal: null });
});

test("serve: a second cluster's entries and hand-made rules survive", { skip }, async (t) => {
  const eastKube = await startKubeApiserver();
  atEnd(t, () => eastKube.stop());
  const eastToken = await grantForwarder(eastKube);
  const stage = await setStage(moto, {
    name: "shared",
    clusters: ["east", "west"],
    endpoint: moto.url,
  });
  const history = follow(t, stage);
  const west = nodesOf(t, kube, stage);
  const east = nodesOf(t, eastKube, stage);
  // 30 stands in both clusters, as behind one NAT gateway. So many others stay that the guard,
  // which remembers the largest list of the last hour, lets go of three.
  await west.join(11, 12, 30);
  const staying = [21, 22, 23, 26, 27, 28, 30];
  await east.join(...staying);
  const byHand: Rule = {
    cidr: "203.0.113.24/32",
    protocol: "tcp",
    port: 5432,
    description: "a colleague",
  };
  await moto.ec2.authorize(stage.group, byHand);
  const receiver = await startServe(stage);
  const westConfig = kube.kubeconfigFor(token);
  const westForwarder = await startForwarder(stage, {
    receiver,
    cluster: "west",
    kubeconfig: westConfig,
  });
  const eastConfig = eastKube.kubeconfigFor(eastToken);
  const startEast = () =>
    startForwarder(stage, { receiver, cluster: "east", kubeconfig: eastConfig });
  const firstEast = await startEast();
  stopAfter(t, receiver.program, westForwarder, firstEast);
  const all = [receiver.program, westForwarder];
  const everybody = hosts(11, 12, ...staying);
  await untilOwn(stage, everybody, { withinMs: ADD_MS, programs: [...all, firstEast] });

  // Somebody else's rule already lets this node in: it is neither doubled nor taken over.
  await east.join(24);
  await west.leave(11);
  await west.leave(30);
  const without11 = hosts(12, ...staying);
  await untilOwn(stage, without11, { withinMs: REMOVE_MS, programs: [...all, firstEast] });
  assert.deepEqual(await stage.handMade(), handMadeAtFirst(byHand));

  // As long as one cluster is silent nothing leaves the list, however surely the other asks for it.
  firstEast.kill("SIGKILL");
  await firstEast.exited;
  await west.leave(12);
  await sleep(GRACE_MS + 8_000);
  assert.deepEqual(await stage.own(), without11);
  const secondEast = await startEast();
  stopAfter(t, secondEast);
  await east.leave(24);
  const programs = [...all, secondEast];
  await untilOwn(stage, hosts(...staying), { withinMs: RECOVER_MS + REMOVE_MS, programs });

  assert.deepEqual(history.gaps(hosts(...staying)), []);
  assert.deepEqual(await stage.handMade(), handMadeAtFirst(byHand));
  await untilConverged(receiver);
});

test("forward: restarting the API server and cutting its connections loses nothing", {
  skip,
}, async (t) => {
  const { stage, history, nodes } = await openScene(t, "faults");
  await nodes.join(11, 12, 13, 14, 15, 16);
  const proxy = await startProxy(kube.port);
  atEnd(t, () => proxy.stop());
  const receiver = await startServe(stage);
  const kubeconfig = kube.kubeconfigFor(token, { port: proxy.port });
  const forwarder = await startForwarder(stage, { receiver, cluster: "west", kubeconfig });
  stopAfter(t, receiver.program, forwarder);
  const programs = [receiver.program, forwarder];
  const settle = async (what: string, expected: readonly string[], withinMs: number) => {
    const ms = await untilOwn(stage, expected, { withinMs, programs });
    t.diagnostic(`${what}: right after ${ms} ms`);
  };
  await settle("start", hosts(11, 12, 13, 14, 15, 16), ADD_MS);

  await kube.restart({ downMs: 2_000 });
  await nodes.join(21);
  await settle("killed, started again", hosts(11, 12, 13, 14, 15, 16, 21), RECOVER_MS);

  await kube.compact();
  await kube.restart();
  await nodes.leave(16);
  await nodes.join(22);
  const forgotten = hosts(11, 12, 13, 14, 15, 21, 22);
  await settle("old versions forgotten", forgotten, RECOVER_MS + REMOVE_MS);

  proxy.cut();
  await nodes.join(23);
  await settle("connections cut", hosts(11, 12, 13, 14, 15, 21, 22, 23), RECOVER_MS);

  // What happens while nothing is seen is found by the next complete list.
  proxy.blackHole();
  await nodes.leave(15);
  await nodes.join(24);
  await sleep(3_000);
  proxy.cut();
  proxy.heal();
  const found = hosts(11, 12, 13, 14, 21, 22, 23, 24);
  await settle("swallowed, then cut", found, RECOVER_MS + REMOVE_MS);

  assert.deepEqual(history.gaps(hosts(11, 12, 13, 14)), []);
  assert.deepEqual(await stage.handMade(), handMadeAtFirst());
});

test("forward: an API server that is stopped and continued loses nothing", { skip }, async (t) => {
  const { stage, history, nodes } = await openScene(t, "stopped");
  await nodes.join(11, 12, 13);
  const receiver = await startServe(stage);
  const kubeconfig = kube.kubeconfigFor(token);
  const start = () => startForwarder(stage, { receiver, cluster: "west", kubeconfig });
  const first = await start();
  stopAfter(t, receiver.program, first);
  let programs = [receiver.program, first];
  await untilOwn(stage, hosts(11, 12, 13), { withinMs: ADD_MS, programs });
  // Whatever else fails, the next test needs the server.
  atEnd(t, () => kube.resume());

  kube.pause();
  await sleep(STOPPED_MS);
  kube.resume();
  await nodes.join(14);
  const ms = await untilOwn(stage, hosts(11, 12, 13, 14), { withinMs: RECOVER_MS, programs });
  t.diagnostic(`stopped for ${STOPPED_MS} ms: right ${ms} ms after it went on`);

  // A new forwarder that reaches nothing has nothing to say: no answer is not an empty cluster.
  await first.stop();
  kube.pause();
  const second = await start();
  stopAfter(t, second);
  await sleep(STOPPED_MS);
  assert.equal(second.exit(), null);
  kube.resume();
  await nodes.join(15);
  programs = [receiver.program, second];
  const late = await untilOwn(stage, hosts(11, 12, 13, 14, 15), { withinMs: RECOVER_MS, programs });
  t.diagnostic(`started while it was stopped: right ${late} ms after it went on`);
  assert.deepEqual(history.gaps(hosts(11, 12, 13)), []);
  assert.deepEqual(await stage.handMade(), handMadeAtFirst());
});

test("forward: a connection that falls silent for good is given up", { skip }, async (t) => {
  const { stage, history, nodes } = await openScene(t, "silence");
  await nodes.join(11, 12, 13);
  const proxy = await startProxy(kube.port);
  atEnd(t, () => proxy.stop());
  const receiver = await startServe(stage);
  const kubeconfig = kube.kubeconfigFor(token, { port: proxy.port });
  const forwarder = await startForwarder(stage, { receiver, cluster: "west", kubeconfig });
  stopAfter(t, receiver.program, forwarder);
  const programs = [receiver.program, forwarder];
  await untilOwn(stage, hosts(11, 12, 13), { withinMs: ADD_MS, programs });

  proxy.freeze();
  await nodes.leave(13);
  await nodes.join(14);
  const foundMs = await untilOwn(stage, hosts(11, 12, 14), {
    withinMs: WATCHDOG_MS + REMOVE_MS,
    programs,
  });
  t.diagnostic(`found out after ${Math.round(foundMs / 1000)} s`);
  assert.deepEqual(history.gaps(hosts(11, 12)), []);
  assert.deepEqual(await stage.handMade(), handMadeAtFirst());
});

test("serve: killed in the middle of a sync, a receiver converges after a restart", {
  skip,
}, async (t) => {
  const trap = makeTrap();
  const proxy = await startProxy(moto.port, { tap: trap.tap });
  atEnd(t, () => proxy.stop());
  const endpoint = `http://127.0.0.1:${proxy.port}`;
  const { stage, history, nodes } = await openScene(t, "kill", endpoint);
  await nodes.join(11, 12, 13, 14, 15);
  let receiver = await startServe(stage);
  const port = Number(new URL(receiver.url).port);
  const kubeconfig = kube.kubeconfigFor(token);
  const forwarder = await startForwarder(stage, { receiver, cluster: "west", kubeconfig });
  stopAfter(t, receiver.program, forwarder);
  let expected = hosts(11, 12, 13, 14, 15);
  const programs = () => [receiver.program, forwarder];
  await untilOwn(stage, expected, { withinMs: ADD_MS, programs: programs() });

  /** Kills the receiver at this moment of the call that `cause` brings about; starts it again. */
  const kill = async (action: string, moment: Moment, cause: () => Promise<void>) => {
    const { program } = receiver;
    trap.set(action, moment, async () => {
      program.kill("SIGKILL");
      await program.exited;
    });
    await cause();
    await eventually(`${action} was caught`, () => trap.sprung(), { withinMs: REMOVE_MS });
    assert.deepEqual(await program.exited, { code: null, signal: "SIGKILL" });
    t.diagnostic(`killed in ${action} ${moment}: ${(await stage.own()).length} own rules`);
    receiver = await startServe(stage, { port });
    stopAfter(t, receiver.program);
    const ms = await untilOwn(stage, expected, { withinMs: LEASE_MS, programs: programs() });
    await untilConverged(receiver);
    t.diagnostic(`right ${ms} ms after the restart`);
    assert.deepEqual(await stage.own(), expected.toSorted());
    assert.deepEqual(await stage.handMade(), handMadeAtFirst());
  };

  expected = hosts(11, 12, 13, 14, 15, 21, 22, 23);
  await kill("AuthorizeSecurityGroupIngress", "before the cloud hears of it", () =>
    nodes.join(21, 22, 23),
  );
  expected = hosts(11, 12, 13, 14, 15, 21, 22, 23, 24, 25, 26);
  await kill("AuthorizeSecurityGroupIngress", "before its answer arrives", () =>
    nodes.join(24, 25, 26),
  );
  expected = hosts(11, 12, 13, 14, 15, 21, 22, 23, 24, 25);
  await kill("RevokeSecurityGroupIngress", "before the cloud hears of it", () => nodes.leave(26));
  expected = hosts(11, 12, 13, 14, 15, 21, 22, 23, 24);
  await kill("RevokeSecurityGroupIngress", "before its answer arrives", () => nodes.leave(25));
  assert.deepEqual(history.gaps(hosts(11, 12, 13, 14, 15)), []);
});

test("forward: two forwarders take turns, and one that wakes up late changes nothing", {
  skip,
}, async (t) => {
  const { stage, history, nodes } = await openScene(t, "turns");
  await nodes.join(11, 12, 13);
  const receiver = await startServe(stage);
  stopAfter(t, receiver.program);
  const kubeconfig = kube.kubeconfigFor(token);
  const start = async () => {
    const program = await startForwarder(stage, { receiver, cluster: "west", kubeconfig });
    stopAfter(t, program);
    return program;
  };
  const settle = async (forwarder: Program, expected: readonly string[]) => {
    const programs = [receiver.program, forwarder];
    const ms = await untilOwn(stage, expected, { withinMs: RECOVER_MS, programs });
    const lease = await leaseOf(kube, stage);
    t.diagnostic(`right after ${ms} ms, by ${lease.holder} in epoch ${lease.epoch}`);
    return lease;
  };
  const first = await start();
  const firstLease = await settle(first, hosts(11, 12, 13));
  const second = await start();
  await sleep(2_000);
  assert.deepEqual(await leaseOf(kube, stage), firstLease, "a second forwarder waits for its turn");

  first.kill("SIGKILL");
  await nodes.join(14);
  const secondLease = await settle(second, hosts(11, 12, 13, 14));
  assert.notEqual(secondLease.holder, firstLease.holder);
  assert.ok(secondLease.epoch > firstLease.epoch, "every turn has a higher epoch");

  const third = await start();
  second.kill("SIGSTOP");
  await nodes.join(15);
  const thirdLease = await settle(third, hosts(11, 12, 13, 14, 15));
  assert.notEqual(thirdLease.holder, secondLease.holder);
  assert.ok(thirdLease.epoch > secondLease.epoch, "every turn has a higher epoch");

  // It wakes up believing that it still holds the Lease, and knows nothing of node 15.
  const held = (await generationOf(receiver)).epoch;
  second.kill("SIGCONT");
  await sleep(STOPPED_MS);
  assert.deepEqual(await leaseOf(kube, stage), thirdLease, "the awakened one does not take over");
  assert.equal((await generationOf(receiver)).epoch, held);
  assert.deepEqual(await stage.own(), hosts(11, 12, 13, 14, 15));

  await third.stop();
  await nodes.join(16);
  const lastLease = await settle(second, hosts(11, 12, 13, 14, 15, 16));
  assert.equal(lastLease.holder, secondLease.holder);
  assert.deepEqual(history.gaps(hosts(11, 12, 13)), []);
  assert.deepEqual(await stage.handMade(), handMadeAtFirst());
});

test("plan, sync, verify: work from the stored snapshots and ask before they empty a list", {
  skip,
}, async (t) => {
  const { stage, nodes } = await openScene(t, "commands");
  await nodes.join(11, 12, 13, 14);
  const all = hosts(11, 12, 13, 14);
  const kubeconfig = kube.kubeconfigFor(token);
  const first = await startServe(stage);
  const port = Number(new URL(first.url).port);
  const forwarder = await startForwarder(stage, { receiver: first, cluster: "west", kubeconfig });
  stopAfter(t, first.program, forwarder);
  await untilOwn(stage, all, { withinMs: ADD_MS, programs: [first.program, forwarder] });
  await untilConverged(first);
  assert.equal(await exitCode(stage, "verify"), 0);
  await first.program.stop();

  const [lost] = (await moto.ec2.rules(stage.group)).filter(({ cidr }) => cidr === all[0]);
  assert.ok(lost !== undefined);
  await moto.ec2.revoke(stage.group, { ...lost, port: 5432 });
  assert.equal(await exitCode(stage, "verify"), 1, "drift");
  const planned = await planOf(stage);
  assert.deepEqual(
    planned.lists.map(({ add, remove }) => ({ add, remove })),
    [{ add: [all[0]], remove: [] }],
  );
  assert.equal((await stage.own()).length, 3, "a plan writes nothing");
  assert.equal(await exitCode(stage, "sync"), 0);
  assert.deepEqual(await stage.own(), all);
  assert.equal(await exitCode(stage, "verify"), 0);

  const second = await startServe(stage, { port });
  stopAfter(t, second.program);
  await nodes.leave(11, 12, 13, 14);
  const withheld = async () => (await second.status()).lists[0]?.reason === "ratio";
  await eventually("the guard withholds the removals", withheld, { withinMs: RECOVER_MS });
  await sleep(3_000);
  assert.deepEqual(await stage.own(), all, "an empty cluster empties no list");
  await Promise.all([second.program.stop(), forwarder.stop()]);
  const { plan } = await planOf(stage);
  t.diagnostic(`the guard held back ${all.length} removals; plan ${plan}`);
  assert.equal(await exitCode(stage, "sync"), 1, "withheld");
  assert.equal(await exitCode(stage, "sync", "--accept-removals", `${plan}0`), 1);
  assert.deepEqual(await stage.own(), all);
  assert.equal(await exitCode(stage, "sync", "--accept-removals", plan), 0);
  assert.deepEqual(await stage.own(), []);
  assert.deepEqual(await stage.handMade(), handMadeAtFirst());
});

/** A stage for one cluster, with its history and its nodes. */
async function openScene(t: TestContext, name: string, endpoint = moto.url) {
  const stage = await setStage(moto, { name, clusters: ["west"], endpoint });
  return { stage, history: follow(t, stage), nodes: nodesOf(t, kube, stage) };
}

/** Records the own rules during a test and prints at its end how they changed. */
function follow(t: TestContext, stage: Stage): History {
  const history = recordHistory(stage);
  atEnd(t, async () => {
    for (const line of history.lines()) t.diagnostic(line);
    await history.stop();
  });
  return history;
}

function stopAfter(t: TestContext, ...programs: readonly Program[]): void {
  for (const program of programs) atEnd(t, () => program.stop());
}

/** Nodes of one stage by the last number of their address; they go with the test. */
function nodesOf(t: TestContext, kube: KubeApiserver, stage: Stage) {
  const nameOf = (host: number) => `${stage.name}-${host}`;
  const present = new Set<number>();
  const leave = async (...gone: readonly number[]) => {
    for (const host of gone) {
      await kube.deleteNode(nameOf(host));
      present.delete(host);
    }
  };
  atEnd(t, () => leave(...present));
  return {
    leave,
    async join(...joining: readonly number[]) {
      for (const host of joining) {
        await kube.createNode({
          name: nameOf(host),
          labels: { pool: stage.name },
          addresses: [
            { type: "InternalIP", address: `10.0.0.${host}` },
            externalIp(`203.0.113.${host}`),
            { type: "Hostname", address: nameOf(host) },
          ],
        });
        present.add(host);
      }
    },
    move: (host: number, ...addresses: readonly ReturnType<typeof externalIp>[]) =>
      kube.updateNodeStatus(nameOf(host), addresses),
  };
}

function externalIp(address: string) {
  return { type: "ExternalIP", address };
}

function hosts(...numbers: readonly number[]): readonly string[] {
  return numbers.map((number) => `203.0.113.${number}/32`);
}

/** An entry stays for the grace after it was last wanted; what is read late is later still. */
function assertGrace(
  t: TestContext,
  history: History,
  entry: { readonly cidr: string; readonly since: number },
): void {
  const keptMs = (history.lastSeen(entry.cidr) ?? 0) - entry.since;
  t.diagnostic(`${entry.cidr} was kept for ${keptMs} ms after it was last wanted`);
  assert.ok(keptMs >= GRACE_MS - 200, `${entry.cidr} went after ${keptMs} ms, before its grace`);
}

async function untilConverged(receiver: Receiver): Promise<void> {
  let seen = "";
  const probe = async () => {
    const { lists } = await receiver.status();
    seen = lists.map(({ state, message }) => `${state}: ${message}`).join("; ");
    return lists.length > 0 && lists.every(({ state }) => state === "converged");
  };
  await eventually("all lists are converged", probe, { withinMs: LEASE_MS }).catch((error) => {
    throw new Error(`${error.message}; they are ${seen}`, { cause: error });
  });
}

async function generationOf(receiver: Receiver): Promise<Generation> {
  const [cluster] = (await receiver.status()).clusters;
  assert.ok(cluster !== undefined);
  return cluster.generation;
}

async function leaseOf(kube: KubeApiserver, stage: Stage) {
  const path = `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases/${stage.name}`;
  const lease = await kube.request<{
    readonly metadata: { readonly annotations?: Readonly<Record<string, string>> };
    readonly spec: { readonly holderIdentity?: string };
  }>("GET", path);
  const holder = lease.spec.holderIdentity ?? "";
  const epoch = Number(lease.metadata.annotations?.["kube-allowlist.dev/epoch"]);
  return { holder, epoch };
}

async function exitCode(stage: Stage, command: string, ...args: readonly string[]) {
  const run = await runProgram([command, "--config", stage.config, "--json", ...args], stage);
  assert.equal(run.signal, null, `${command} ended by itself`);
  return run.code;
}

async function planOf(stage: Stage) {
  const run = await runProgram(["plan", "--config", stage.config, "--json"], stage);
  assert.equal(run.code, 0, run.stderr);
  return JSON.parse(run.stdout) as {
    readonly plan: string;
    readonly lists: readonly {
      readonly add: readonly string[];
      readonly remove: readonly string[];
    }[];
  };
}
