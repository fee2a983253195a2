import { isDeepStrictEqual } from "node:util";
import { randomId, type World } from "../../lib/world.ts";

/** An object of the Kubernetes API, as far as it is looked into. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: KubeMetadata;
  readonly [member: string]: unknown;
}

export interface KubeMetadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly creationTimestamp: string;
  readonly [member: string]: unknown;
}

export type Resource = "nodes" | "pods" | "leases" | "events" | "namespaces";

/** One write, as a watch shows it: the object after it, or the last one of a deleted object. */
export interface Write {
  readonly revision: bigint;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly resource: Resource;
  readonly key: string;
  readonly object: KubeObject;
  /** As it was until then. */
  readonly before: KubeObject | null;
}

/** What a client gives: everything but what the server sets. */
export interface KubeDraft {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly [member: string]: unknown };
  readonly [member: string]: unknown;
}

/** The whole state at one moment, to be restored later. */
export interface Backup {
  readonly revision: bigint;
  readonly objects: ReadonlyMap<string, KubeObject>;
}

/** Objects with one revision for all of them and a history of writes, as etcd keeps them. */
export interface ObjectStore {
  revision(): bigint;
  /** Older states than this are gone. */
  compacted(): bigint;
  read(resource: Resource, key: string): KubeObject | null;
  /** In ascending order of key. `revision` must lie between the compacted and the newest one. */
  list(resource: Resource, revision: bigint): readonly KubeObject[];
  /** Writes after a revision, which must not lie before the compacted one. */
  writesAfter(resource: Resource, revision: bigint): readonly Write[];
  /** Creates or replaces; identical objects are no write. */
  put(resource: Resource, key: string, draft: KubeDraft): KubeObject;
  remove(resource: Resource, key: string): KubeObject | null;
  /** Hears of every write, at once. Returns a function that ends it. */
  subscribe(listener: (write: Write) => void): () => void;
  /** Forgets all history. */
  compact(): void;
  backup(): Backup;
  /** Goes back to an older state, revision and all, as an administrator restores etcd. */
  restore(backup: Backup): void;
}

/** History is cut to its newer half at this length, as etcd is compacted every few minutes. */
const HISTORY_MAX = 10_000;

/** The state of a store, as its functions hand it around. */
interface Stored {
  readonly world: Pick<World, "now" | "random">;
  readonly listeners: Set<(write: Write) => void>;
  revision: bigint;
  objects: Map<string, KubeObject>;
  compacted: bigint;
  /** The state at the compacted revision; `history` is what was written since. */
  base: ReadonlyMap<string, KubeObject>;
  history: Write[];
}

export function makeObjectStore(
  world: Pick<World, "now" | "random">,
  options: { readonly firstRevision: bigint },
): ObjectStore {
  const stored: Stored = {
    world,
    listeners: new Set(),
    revision: options.firstRevision,
    objects: new Map(),
    compacted: options.firstRevision,
    base: new Map(),
    history: [],
  };
  return {
    revision: () => stored.revision,
    compacted: () => stored.compacted,
    read: (resource, key) => stored.objects.get(`${resource}/${key}`) ?? null,
    list: (resource, at) => listAt(stored, resource, at),
    writesAfter: (resource, after) =>
      stored.history.filter((write) => write.resource === resource && write.revision > after),
    put: (resource, key, draft) => put(stored, { resource, key }, draft),
    remove: (resource, key) => remove(stored, { resource, key }),
    subscribe(listener) {
      stored.listeners.add(listener);
      return () => stored.listeners.delete(listener);
    },
    compact: () => forget(stored, stored.revision),
    backup: () => ({ revision: stored.revision, objects: new Map(stored.objects) }),
    restore(backup) {
      stored.revision = backup.revision;
      stored.objects = new Map(backup.objects);
      stored.base = new Map(backup.objects);
      stored.history = [];
      stored.compacted = backup.revision;
    },
  };
}

function listAt(stored: Stored, resource: Resource, at: bigint): readonly KubeObject[] {
  const { revision, objects, base, history } = stored;
  const state = at === revision ? objects : stateAt(base, history, at);
  return [...state]
    .filter(([key]) => key.startsWith(`${resource}/`))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, object]) => object);
}

function put(
  stored: Stored,
  { resource, key }: { readonly resource: Resource; readonly key: string },
  draft: KubeDraft,
): KubeObject {
  const before = stored.objects.get(`${resource}/${key}`) ?? null;
  if (before !== null) {
    const { resourceVersion } = before.metadata;
    const same = complete(draft, { before, resourceVersion, world: stored.world });
    if (isDeepStrictEqual(same, before)) return before;
  }
  const revision = stored.revision + 1n;
  const resourceVersion = String(revision);
  const object = complete(draft, { before, resourceVersion, world: stored.world });
  const type = before === null ? "ADDED" : "MODIFIED";
  commit(stored, { revision, type, resource, key, object, before });
  return object;
}

function remove(
  stored: Stored,
  { resource, key }: { readonly resource: Resource; readonly key: string },
): KubeObject | null {
  const before = stored.objects.get(`${resource}/${key}`);
  if (before === undefined) return null;
  const revision = stored.revision + 1n;
  const metadata = { ...before.metadata, resourceVersion: String(revision) };
  const object = { ...before, metadata };
  commit(stored, { revision, type: "DELETED", resource, key, object, before });
  return before;
}

function commit(stored: Stored, write: Write): void {
  stored.revision = write.revision;
  apply(stored.objects, write);
  stored.history.push(write);
  if (stored.history.length > HISTORY_MAX) {
    forget(stored, stored.history[HISTORY_MAX / 2]?.revision ?? stored.revision);
  }
  for (const listener of [...stored.listeners]) listener(write);
}

function forget(stored: Stored, until: bigint): void {
  stored.base = stateAt(stored.base, stored.history, until);
  stored.history = stored.history.filter((write) => write.revision > until);
  stored.compacted = until;
}

function apply(objects: Map<string, KubeObject>, write: Write): void {
  const key = `${write.resource}/${write.key}`;
  if (write.type === "DELETED") objects.delete(key);
  else objects.set(key, write.object);
}

function stateAt(
  base: ReadonlyMap<string, KubeObject>,
  history: readonly Write[],
  revision: bigint,
): Map<string, KubeObject> {
  const state = new Map(base);
  for (const write of history) {
    if (write.revision > revision) break;
    apply(state, write);
  }
  return state;
}

/** What the server sets, over what the client gave. */
function complete(
  draft: KubeDraft,
  options: {
    readonly before: KubeObject | null;
    readonly resourceVersion: string;
    readonly world: Pick<World, "now" | "random">;
  },
): KubeObject {
  const { before, resourceVersion, world } = options;
  const uid = before?.metadata.uid ?? randomUid(world);
  const creationTimestamp =
    before?.metadata.creationTimestamp ?? new Date(world.now()).toISOString().replace(/\.\d+/, "");
  return {
    ...draft,
    metadata: { ...draft.metadata, uid, resourceVersion, creationTimestamp },
  };
}

/** In the form of a UUID of version 4. */
function randomUid(world: Pick<World, "random">): string {
  const hex = (randomId(world) + randomId(world)).slice(0, 32);
  const parts = [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `4${hex.slice(13, 16)}`,
    `8${hex.slice(17, 20)}`,
  ];
  return [...parts, hex.slice(20, 32)].join("-");
}
