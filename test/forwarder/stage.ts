import type { TestContext } from "node:test";
import { startEmbeddedKubernetes } from "../../cli/embedded/kubernetes.ts";
import { watchCluster } from "../../forwarder/cluster-watch.ts";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { type Kube, openKube } from "../../forwarder/kube.ts";
import type { Truth } from "../../forwarder/truth.ts";
import type { GateMark } from "../../forwarder/variables.ts";
import { addressText, type Cidr } from "../../lib/core/cidr.ts";
import type { Change, PodSelector } from "../../lib/core/snapshot.ts";
import { type ManualWorld, manualWorld } from "./clock.ts";

export type Server = Awaited<ReturnType<typeof startEmbeddedKubernetes>>;

/** An embedded cluster that is closed at the end of the test. */
export async function startCluster(
  t: TestContext,
  options: {
    readonly world: ManualWorld;
    readonly watchList?: boolean;
    readonly firstRevision?: bigint;
  },
): Promise<Server> {
  const server = await startEmbeddedKubernetes(options);
  t.after(() => server.close());
  return server;
}

/** One address of the kind that most tests are about. */
export function external(...addresses: readonly string[]) {
  return { addresses: addresses.map((address) => ({ type: "ExternalIP", address })) };
}

export interface WatchStageOptions {
  readonly watchList?: boolean;
  readonly firstRevision?: bigint;
  readonly labels?: readonly string[];
  readonly pods?: readonly PodSelector[];
  readonly mark?: GateMark;
  /** Called with every change before it counts; may throw. */
  readonly onChanges?: (changes: readonly Change[]) => void;
  /** Called with every event; may throw. */
  readonly onEvent?: (event: ForwarderEvent) => void;
  /** Another than the server's own. */
  readonly kubeconfig?: (server: Server) => string | Promise<string>;
  /** What the watch gets in place of the API. */
  readonly wrap?: (kube: Kube, world: ManualWorld) => Kube;
  /** Before the watch begins. */
  readonly prepare?: (server: Server) => void | Promise<void>;
}

/** A cluster and the watch of it, which runs until the test ends. */
export async function watchStage(t: TestContext, options: WatchStageOptions = {}) {
  const world = manualWorld();
  const server = await startCluster(t, { ...options, world });
  await options.prepare?.(server);
  const events: ForwarderEvent[] = [];
  const changes: Change[] = [];
  const counts = { restored: 0, marks: 0, told: 0 };
  const text = (await options.kubeconfig?.(server)) ?? server.kubeconfig;
  const source = { kind: "text", text } as const;
  const opened = openKube(source, { world, proxy: {}, warn: () => undefined });
  const kube = options.wrap?.(opened, world) ?? opened;
  const watch = watchCluster({
    kube,
    world,
    labels: options.labels ?? [],
    pods: options.pods ?? [],
    mark: options.mark ?? null,
    emit(event) {
      events.push(event);
      options.onEvent?.(event);
    },
    onChanges(given) {
      options.onChanges?.(given);
      counts.told += 1;
      changes.push(...given);
    },
    onRestored() {
      counts.restored += 1;
    },
    onMarks() {
      counts.marks += 1;
    },
  });
  const end = new AbortController();
  const running = watch.run(end.signal);
  t.after(async () => {
    end.abort(new Error("the test is over"));
    await running;
    kube.close();
  });
  return {
    world,
    server,
    watch,
    events,
    changes,
    signal: end.signal,
    restored: () => counts.restored,
    /** How often a gate was asked to look again, and a delivery to consider itself. */
    marks: () => counts.marks,
    told: () => counts.told,
    /** Every address of the truth, ascending; empty also before there is one. */
    addresses: () => nodeAddresses(watch.truth()),
    podAddresses: () => podAddresses(watch.truth()),
    /** Something is written that no watch shows, as it goes on in any cluster. */
    elsewhere: () => writeElsewhere(server),
    synced: () => world.until("a first truth", () => watch.truth() !== null),
    /** How many requests of a kind came in. */
    count: (kind: string) => server.requests().filter((request) => request.kind === kind).length,
  };
}

function writeElsewhere({ store }: Server): void {
  const metadata = { name: "other", namespace: "default", n: String(store.revision()) };
  const lease = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata };
  store.put("leases", "default/other", lease);
}

function nodeAddresses(truth: Truth | null): readonly string[] {
  const nodes = truth?.nodes ?? [];
  return texts(nodes.flatMap((node) => node.addresses.map(({ address }) => address)));
}

function podAddresses(truth: Truth | null): readonly string[] {
  return texts((truth?.pods ?? []).flatMap((pod) => pod.addresses));
}

function texts(hosts: readonly Cidr[]): readonly string[] {
  return hosts.map(addressText).toSorted();
}
