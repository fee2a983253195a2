import { hostname } from "node:os";
import { randomId, type World } from "../lib/world.ts";
import { type Authenticator, signWith, signWithFile } from "./authenticator.ts";
import { type Delivery, makeDelivery } from "./delivery.ts";
import { type Emit, type ForwarderEvent, logEvent } from "./journal.ts";
import { type Kube, type KubeSource, openKube } from "./kube.ts";
import { type HeldLease, type Lease, makeKubernetesLease, makeMemoryLease } from "./lease.ts";
import type { Settings } from "./settings.ts";
import { errorText } from "./signal.ts";
import { type NodeWatch, watchNodes } from "./watch.ts";
import { describeUrl, openWebhook } from "./webhook.ts";

export interface ForwarderOptions {
  readonly world: World;
  /** Aborting it is the orderly end: the newest truth is delivered and the Lease released. */
  readonly signal: AbortSignal;
  readonly kubeConfig: KubeSource;
  /** Hears of everything that happens, after the log did; what it throws is logged. */
  readonly onEvent?: (event: ForwarderEvent) => void;
}

/** What was not yet answered may be delivered for this long after the end was asked for. */
const FLUSH_MS_MAX = 10_000;

/**
 * Follows the nodes of one cluster and delivers them to one receiver, until the signal aborts; then
 * resolves within about 20 s. Rejects only for a kubeconfig that cannot be used. Nothing of it is
 * running any more when it settles.
 */
export async function runForwarder(settings: Settings, options: ForwarderOptions): Promise<void> {
  const { world, signal } = options;
  const emit = emitter(options);
  const warn = (message: string) => emit({ kind: "warning", at: world.now(), message });
  const { proxy } = settings;
  const kube = openKube(options.kubeConfig, { world, proxy, warn });
  const webhook = openWebhook(settings.url, { proxy });
  const authenticate = authenticatorOf(settings, warn);
  const { cluster } = settings;
  const receiver = describeUrl(settings.url);
  emit({ kind: "started", at: world.now(), cluster, server: kube.server, receiver });
  // The acquisition after which the nodes were listed: only then may what is known be delivered.
  let confirmed = 0;
  const watch: NodeWatch = watchNodes({
    kube,
    world,
    emit,
    labels: settings.labels,
    onChanges: (changes) => delivery.changed(changes),
    onRestored: () => void lease.raise(0).then(() => delivery.wake()),
  });
  const confirm = async ({ acquisition }: HeldLease) => {
    delivery.forget();
    await watch.refresh(signal);
    confirmed = Math.max(confirmed, acquisition);
    delivery.changed([]);
  };
  const lease: Lease = leaseOf(settings, {
    kube,
    world,
    emit,
    // Rejects only when the end was asked for.
    onAcquired: (held) => void confirm(held).catch(() => undefined),
  });
  const delivery: Delivery = makeDelivery({
    cluster,
    scope: { labels: settings.labels, pods: [] },
    heartbeatMs: settings.heartbeatMs,
    world,
    emit,
    post: webhook.post,
    authenticate,
    permit() {
      const held = lease.held();
      const truth = watch.truth();
      if (held === null || truth === null || held.acquisition !== confirmed) return null;
      return { epoch: held.epoch, truth };
    },
    raise: (above) => lease.raise(above),
  });
  try {
    await runAll({ watch, lease, delivery }, { world, signal });
  } finally {
    webhook.close();
    kube.close();
  }
}

/** The watch ends at once, then the delivery, then the Lease, which the delivery needs. */
async function runAll(
  parts: { readonly watch: NodeWatch; readonly lease: Lease; readonly delivery: Delivery },
  { world, signal }: { readonly world: Pick<World, "sleep">; readonly signal: AbortSignal },
): Promise<void> {
  const last = new AbortController();
  const leaseEnd = new AbortController();
  const delivered = new AbortController();
  const watching = parts.watch.run(signal);
  const leasing = parts.lease.run(leaseEnd.signal);
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
    await watching;
  } finally {
    delivered.abort();
    leaseEnd.abort();
    await leasing;
    await parts.lease.release();
  }
}

/** What a Lease's retries every second have to say in the same words is logged this seldom. */
const REPEAT_LOG_MS = 60_000;

function emitter({ world, onEvent }: ForwarderOptions): Emit {
  let said: { readonly message: string; readonly at: number } | null = null;
  const isRepeated = (event: ForwarderEvent) => {
    if (event.kind !== "lease-failed") return false;
    if (event.message === said?.message && event.at - said.at < REPEAT_LOG_MS) return true;
    said = { message: event.message, at: event.at };
    return false;
  };
  return (event) => {
    if (!isRepeated(event)) logEvent(world.log, event);
    try {
      onEvent?.(event);
    } catch (error) {
      world.log.error({ event: event.kind }, `Cannot show an event: ${errorText(error)}`);
    }
  };
}

function authenticatorOf(settings: Settings, warn: (message: string) => void): Authenticator {
  const { credential } = settings;
  switch (credential.kind) {
    case "secret-file":
      return signWithFile(credential.path, warn);
    case "keys":
      return signWith(credential.keys);
    default:
      throw new Error(`Unreachable: ${JSON.stringify(credential satisfies never)}`);
  }
}

function leaseOf(
  settings: Settings,
  options: {
    readonly kube: Kube;
    readonly world: World;
    readonly emit: Emit;
    readonly onAcquired: (held: HeldLease) => void;
  },
): Lease {
  const { lease } = settings;
  switch (lease.kind) {
    case "memory":
      return makeMemoryLease(options);
    case "kubernetes": {
      const namespace = lease.namespace ?? options.kube.namespace;
      // The host's name is for people; only the random part tells two processes apart.
      const identity = `${hostname()}_${randomId(options.world)}`;
      return makeKubernetesLease({ ...options, namespace, name: lease.name, identity });
    }
    default:
      throw new Error(`Unreachable: ${JSON.stringify(lease satisfies never)}`);
  }
}
