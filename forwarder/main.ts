import { hostname } from "node:os";
import { isLoopback } from "../lib/core/host.ts";
import { randomId, type World } from "../lib/world.ts";
import {
  type Authenticator,
  proveAll,
  sendTokenOf,
  signWith,
  signWithFile,
  type TokenOptions,
} from "./authenticator.ts";
import { type ClusterWatch, watchCluster } from "./cluster-watch.ts";
import { type Delivery, type DeliveryOptions, makeDelivery } from "./delivery.ts";
import { type Gate, makeGate } from "./gate.ts";
import type { ProcessFigures } from "./gauges.ts";
import { type Hear, type Hearers, makeVoice, openHearers } from "./hearers.ts";
import type { Emit } from "./journal.ts";
import { type Kube, type KubeSource, openKube } from "./kube.ts";
import { type HeldLease, type Lease, makeKubernetesLease } from "./lease.ts";
import { makeMemoryLease } from "./memory-lease.ts";
import type { Settings } from "./settings.ts";
import { describeUrl, openWebhook } from "./webhook.ts";

export interface ForwarderOptions {
  readonly world: World;
  /** Aborting it is the orderly end: the newest truth is delivered and the Lease released. */
  readonly signal: AbortSignal;
  readonly kubeConfig: KubeSource;
  /** Hears of everything that happens, after the log did; what it throws is logged. */
  readonly onEvent?: Hear;
  /** Of this program, for its metrics. */
  readonly version?: string;
}

/** What was not yet answered may be delivered for this long after the end was asked for. */
const FLUSH_MS_MAX = 10_000;

/**
 * Follows one cluster and delivers what it sees to one receiver, until the signal aborts; then
 * resolves within about 20 s. Rejects only for a kubeconfig that cannot be used, or where it cannot
 * listen. Nothing of it is running any more when it settles.
 */
export async function runForwarder(settings: Settings, options: ForwarderOptions): Promise<void> {
  const { world, signal } = options;
  const voice = makeVoice(world.log);
  if (options.onEvent !== undefined) voice.add(options.onEvent);
  const { emit } = voice;
  const warn = (message: string) => emit({ kind: "warning", at: world.now(), message });
  const { cluster, proxy, url } = settings;
  const kube = openKube(options.kubeConfig, { world, proxy, warn });
  const webhook = openWebhook(url, { proxy });
  // The host's name is for people; only the random part tells two processes apart.
  const identity = `${hostname()}_${randomId(world)}`;
  const { version = "unknown" } = options;
  try {
    const parts = assemble(settings, {
      world,
      signal,
      kube,
      emit,
      warn,
      identity,
      post: webhook.post,
      onAnswered: (sent, answer) => hearers.answered(sent, answer),
    });
    const { watch, lease } = parts;
    const surroundings = { world, voice, kube, watch, lease, identity, version };
    const hearers = await openHearers(settings, { ...surroundings, process: readProcess });
    const { listening } = hearers;
    const receiver = describeUrl(url);
    emit({ kind: "started", at: world.now(), cluster, server: kube.server, receiver, listening });
    try {
      await runAll(parts, hearers, { world, signal });
    } finally {
      await hearers.close();
    }
  } finally {
    webhook.close();
    kube.close();
  }
}

function readProcess(): ProcessFigures {
  const { user, system } = process.cpuUsage();
  return {
    residentBytes: process.memoryUsage.rss(),
    cpuSeconds: (user + system) / 1_000_000,
    startedAtSeconds: performance.timeOrigin / 1_000,
  };
}

/** What runs for as long as a forwarder does. */
interface Parts {
  readonly watch: ClusterWatch;
  readonly lease: Lease;
  readonly delivery: Delivery;
  /** Null where nodes are not held back. */
  readonly gate: Gate | null;
}

interface Surroundings {
  readonly world: World;
  /** Of the orderly end. */
  readonly signal: AbortSignal;
  readonly kube: Kube;
  readonly emit: Emit;
  readonly post: Parameters<typeof makeDelivery>[0]["post"];
  readonly warn: (message: string) => void;
  /** Of this process and no other. */
  readonly identity: string;
  readonly onAnswered: DeliveryOptions["onAnswered"];
}

function assemble(settings: Settings, surroundings: Surroundings): Parts {
  const { world, signal, kube, emit, post, warn, identity } = surroundings;
  // The acquisition after which the cluster was listed: only then may what is known be delivered.
  let confirmed = 0;
  const watch: ClusterWatch = watchCluster({
    kube,
    world,
    emit,
    labels: settings.labels,
    pods: settings.pods,
    mark: settings.gate?.mark ?? null,
    onChanges: (changes) => delivery.changed(changes),
    onRestored: () => void lease.raise(0).then(() => delivery.wake()),
    onMarks: () => gate?.look(),
  });
  const confirm = async ({ acquisition }: HeldLease) => {
    delivery.forget();
    await watch.confirm(signal);
    confirmed = Math.max(confirmed, acquisition);
    delivery.changed([]);
  };
  const lease: Lease = leaseOf(settings, {
    kube,
    world,
    emit,
    identity,
    // Rejects only when the end was asked for.
    onAcquired: (held) => void confirm(held).catch(() => undefined),
  });
  const nodes = watch.nodes;
  const gate =
    settings.gate === null
      ? null
      : makeGate({
          ...settings.gate,
          kube,
          world,
          emit,
          nodes,
          epoch: () => lease.held()?.epoch ?? null,
        });
  const delivery: Delivery = makeDelivery({
    cluster: settings.cluster,
    heartbeatMs: settings.heartbeatMs,
    world,
    emit,
    post,
    authenticate: authenticatorOf(settings, { server: kube.server, warn }),
    permit() {
      const held = lease.held();
      const truth = watch.truth();
      if (held === null || truth === null || held.acquisition !== confirmed) return null;
      return { epoch: held.epoch, truth };
    },
    raise: (above) => lease.raise(above),
    onAnswered(sent, answer) {
      surroundings.onAnswered(sent, answer);
      gate?.answered(sent, answer);
    },
  });
  return { watch, lease, delivery, gate };
}

/** The watch ends at once, then the delivery, then the Lease, which the delivery needs. */
async function runAll(
  parts: Parts,
  hearers: Hearers,
  { world, signal }: { readonly world: Pick<World, "sleep">; readonly signal: AbortSignal },
): Promise<void> {
  const last = new AbortController();
  const leaseEnd = new AbortController();
  const delivered = new AbortController();
  const watching = parts.watch.run(signal);
  const gating = parts.gate?.run(signal);
  const leasing = parts.lease.run(leaseEnd.signal);
  const hearing = hearers.run(signal, leaseEnd.signal);
  const delivering = parts.delivery.run(signal, last.signal);
  const onEnd = () => {
    world.sleep(FLUSH_MS_MAX, delivered.signal).then(
      () => last.abort(new Error("the forwarder ends")),
      () => undefined,
    );
  };
  if (signal.aborted) onEnd();
  else signal.addEventListener("abort", onEnd, { once: true });
  try {
    await delivering;
    delivered.abort();
    await Promise.all([watching, gating]);
  } finally {
    delivered.abort();
    leaseEnd.abort();
    await leasing;
    await parts.lease.release();
    await hearing;
  }
}

function authenticatorOf({ credential, url }: Settings, options: TokenOptions): Authenticator {
  const { signing, tokenFile } = credential;
  const signer = signing === null ? [] : [signerOf(signing, options.warn)];
  if (tokenFile === null) return proveAll(signer);
  if (url.protocol === "http:" && !isLoopback(url)) {
    options.warn(`The token is sent to ${url.hostname} without encryption: who sees it may use it`);
  }
  return proveAll([...signer, sendTokenOf(tokenFile, options)]);
}

function signerOf(
  signing: NonNullable<Settings["credential"]["signing"]>,
  warn: (message: string) => void,
): Authenticator {
  switch (signing.kind) {
    case "file":
      return signWithFile(signing.path, warn);
    case "keys":
      return signWith(signing.keys);
    default:
      throw new Error(`Unreachable: ${JSON.stringify(signing satisfies never)}`);
  }
}

function leaseOf(
  settings: Settings,
  options: {
    readonly kube: Kube;
    readonly world: World;
    readonly emit: Emit;
    readonly identity: string;
    readonly onAcquired: (held: HeldLease) => void;
  },
): Lease {
  const { lease } = settings;
  switch (lease.kind) {
    case "memory":
      return makeMemoryLease(options);
    case "kubernetes": {
      const namespace = lease.namespace ?? options.kube.namespace;
      return makeKubernetesLease({ ...options, namespace, name: lease.name });
    }
    default:
      throw new Error(`Unreachable: ${JSON.stringify(lease satisfies never)}`);
  }
}
