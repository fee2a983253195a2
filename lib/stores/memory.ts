import type { World } from "../world.ts";
import { checkKey, checkPrefix } from "./key.ts";
import type { Store } from "./store.ts";

/** A store that lives as long as its process: for `dev`, for tests. Its clock is the world's. */
export function memoryStore(world: Pick<World, "now">): Store {
  const objects = new Map<string, { readonly body: string; readonly createdAt: number }>();
  // Kept in order, so that reading the newest object of one log does not touch all the others.
  const keys: string[] = [];

  return {
    async put(key, body) {
      checkKey(key);
      if (objects.has(key)) return "exists";
      objects.set(key, { body, createdAt: world.now() });
      keys.splice(firstNotBelow(keys, key), 0, key);
      return "created";
    },

    async get(key) {
      checkKey(key);
      return objects.get(key)?.body ?? null;
    },

    async list(prefix, limit) {
      checkPrefix(prefix);
      const now = world.now();
      const start = firstNotBelow(keys, prefix);
      const found = [];
      for (const key of keys.slice(start, start + limit)) {
        if (!key.startsWith(prefix)) break;
        found.push({ key, ageMs: Math.max(0, now - (objects.get(key)?.createdAt ?? now)) });
      }
      return found;
    },

    async delete(key) {
      checkKey(key);
      if (objects.delete(key)) keys.splice(firstNotBelow(keys, key), 1);
    },
  };
}

/** Where `key` stands, or would stand, in ascending order. Keys are ASCII, so `<` is byte order. */
function firstNotBelow(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] ?? "") < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
