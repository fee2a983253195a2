import type { Instant } from "../lib/core/record.ts";
import type { KeySet, VerifyingKey } from "../lib/wire/jwks.ts";
import type { World } from "../lib/world.ts";

/**
 * Public keys of an issuer as they are known here. Both methods reject only with KeysUnavailable,
 * and what they read is read to its end before they return: between two requests an instance of a
 * function is frozen, so nothing is done in the background.
 */
export interface KeySource {
  /** The keys; asks for them when none are known, or when they were read a while ago. */
  keys(): Promise<readonly VerifyingKey[]>;
  /**
   * None of them fits a token: asks again, unless that was done a moment ago.
   */
  renewed(): Promise<RenewedKeys>;
}

export interface RenewedKeys {
  readonly keys: readonly VerifyingKey[];
  /**
   * What to answer where none of these fits, either, and they could not be had when they were last
   * asked for: the issuer may have a new key. Null where they could: a token whose key was not
   * among them is refused, and a key that is newer than that is taken at the next attempt.
   */
  readonly doubt: KeysUnavailable | null;
}

const SENTENCES = {
  none: "Cannot verify tokens now: the keys of their issuer cannot be had",
  older:
    "Cannot verify the token yet: none of its issuer's known keys signed it, and whether there " +
    "are new ones cannot be asked for now",
};

/** No key is known that may still be believed, or that is new enough. */
export class KeysUnavailable extends Error {
  override readonly name = "KeysUnavailable";
  /** When asking again may help. */
  readonly retryAfterMs: number;

  constructor(why: keyof typeof SENTENCES, retryAfterMs: number) {
    super(SENTENCES[why]);
    this.retryAfterMs = retryAfterMs;
  }
}

export interface KeySourceOptions {
  /** The issuer or the reference, for the log. */
  readonly name: string;
  readonly world: Pick<World, "now" | "log">;
  /** Rejects with an Error whose message may be logged. */
  readonly read: () => KeySet | Promise<KeySet>;
  /** Keys are asked for again after this long. */
  readonly freshMs: number;
  /** Between two attempts while keys are known. What strangers forge makes no more of them. */
  readonly pauseMs: number;
  /** What was read already. */
  readonly first?: KeySet;
}

/** Keys that could not be read again for so long are no longer believed. */
const BELIEVED_MS = 24 * 3_600_000;
/** Between two attempts while none are known. */
const PAUSE_WITHOUT_KEYS_MS = 5_000;
const RETRY_MS_MIN = 1_000;

/**
 * Keeps what was last read: a failing read changes nothing, and neither does a token that names a
 * key that nobody has. Requests at the same time share one read.
 */
export function keySource(options: KeySourceOptions): KeySource {
  const { world } = options;
  let held: { readonly set: KeySet; readonly at: Instant } | null =
    options.first === undefined ? null : { set: options.first, at: world.now() };
  let triedAt: Instant | null = held?.at ?? null;
  let reading: Promise<void> | null = null;

  // A clock that was set back makes "since" negative: then it is due, too.
  const within = (at: Instant, ms: number) => world.now() - at >= 0 && world.now() - at < ms;
  const isBelieved = () => held !== null && Math.abs(world.now() - held.at) < BELIEVED_MS;
  const waitMs = () => {
    const pauseMs = isBelieved() ? options.pauseMs : PAUSE_WITHOUT_KEYS_MS;
    if (triedAt === null || !within(triedAt, pauseMs)) return 0;
    return pauseMs - (world.now() - triedAt);
  };
  const read = async () => {
    const at = world.now();
    triedAt = at;
    try {
      const set = await options.read();
      tell(options, { before: held?.set ?? null, set });
      held = { set, at };
    } catch (error) {
      const reason = error instanceof Error ? error.message : "unknown error";
      const going = isBelieved() ? "; going on with those that are known" : "";
      world.log.warn(
        { issuer: options.name },
        `Cannot read the keys of an issuer: ${reason}${going}`,
      );
    }
  };
  const readOnce = () => {
    reading ??= read().finally(() => {
      reading = null;
    });
    return reading;
  };
  const unavailable = (why: keyof typeof SENTENCES) =>
    new KeysUnavailable(why, Math.max(waitMs(), RETRY_MS_MIN));
  const believed = () => {
    if (held !== null && isBelieved()) return held.set.keys;
    throw unavailable("none");
  };
  return {
    async keys() {
      const isFresh = held !== null && within(held.at, options.freshMs);
      // Who comes while others ask need not wait for them, unless there is nothing to go by.
      const mayHelp = reading === null ? waitMs() === 0 : !isBelieved();
      if (!isFresh && mayHelp) await readOnce();
      return believed();
    },
    async renewed() {
      if (reading !== null || waitMs() === 0) await readOnce();
      const keys = believed();
      const isAnswered = held !== null && held.at === triedAt;
      return { keys, doubt: isAnswered ? null : unavailable("older") };
    },
  };
}

/** Keys that stay as they are while this process runs. */
export function fixedKeys({ keys }: KeySet): KeySource {
  return { keys: async () => keys, renewed: async () => ({ keys, doubt: null }) };
}

function tell(
  { name, world }: KeySourceOptions,
  { before, set }: { readonly before: KeySet | null; readonly set: KeySet },
): void {
  const idsOf = ({ keys }: KeySet) => keys.map(({ id }) => id ?? "").toSorted();
  const ids = idsOf(set);
  if (before !== null && idsOf(before).join() === ids.join()) return;
  world.log.info({ issuer: name, ids }, "Read the keys of an issuer");
  for (const sentence of set.refused) world.log.warn({ issuer: name }, sentence);
}
