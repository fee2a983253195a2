import type { TestContext } from "node:test";
import { startEmbeddedKubernetes } from "../../cli/embedded/kubernetes.ts";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { openKube } from "../../forwarder/kube.ts";
import { watchNodes } from "../../forwarder/watch.ts";
import type { Change } from "../../lib/core/snapshot.ts";
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

/** A cluster and the watch of its nodes, which runs until the test ends. */
export async function watchStage(
  t: TestContext,
  options: {
    readonly watchList?: boolean;
    readonly firstRevision?: bigint;
    readonly labels?: readonly string[];
    /** Called with every change before it counts; may throw. */
    readonly onChanges?: (changes: readonly Change[]) => void;
    /** Before the watch begins. */
    readonly prepare?: (server: Server) => void | Promise<void>;
  } = {},
) {
  const world = manualWorld();
  const server = await startCluster(t, { ...options, world });
  await options.prepare?.(server);
  const events: ForwarderEvent[] = [];
  const changes: Change[] = [];
  let restored = 0;
  const source = { kind: "text", text: server.kubeconfig } as const;
  const kube = openKube(source, { world, proxy: {}, warn: () => undefined });
  const watch = watchNodes({
    kube,
    world,
    labels: options.labels ?? [],
    emit: (event) => events.push(event),
    onChanges(given) {
      options.onChanges?.(given);
      changes.push(...given);
    },
    onRestored: () => {
      restored += 1;
    },
  });
  const end = new AbortController();
  const running = watch.run(end.signal);
  t.after(async () => {
    end.abort(new Error("the test is over"));
    await running;
    kube.close();
  });
  const addresses = () =>
    (watch.truth()?.nodes ?? [])
      .flatMap((node) => node.addresses.map(({ address }) => address.split("/")[0]))
      .toSorted();
  return {
    world,
    server,
    watch,
    events,
    changes,
    signal: end.signal,
    restored: () => restored,
    /** Every address of the truth, ascending; empty also before there is one. */
    addresses,
    synced: () => world.until("a first truth", () => watch.truth() !== null),
    /** How many requests of a kind came in. */
    count: (kind: string) => server.requests().filter((request) => request.kind === kind).length,
  };
}
