/**
 * Everything that is not a function of its arguments: time, chance, waiting, the network, the log.
 *
 * Entries (`functions/wiring.ts`, `forwarder/main.ts`, `cli`) make one World and hand it in;
 * nothing in `lib` reads a clock or draws a number in any other way, so that a test can own all of
 * them.
 */
export interface World {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /**
   * Milliseconds since some moment of this process. Never goes back, whoever sets the clock; may
   * stand still while the process or its machine does.
   */
  monotonic(): number;
  /** Uniform in [0, 1). Never a source of secrets. */
  random(): number;
  /** Resolves after `ms`; rejects with the signal's reason as soon as the signal aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** The platform's fetch. Callers always pass a signal and `redirect: "error"`. */
  readonly fetch: typeof globalThis.fetch;
  readonly log: Logger;
}

export type LogFields = Readonly<Record<string, unknown>>;

/**
 * Structured log: fields first, then one sentence. Must never be handed a secret or a signed URL.
 */
export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  /**
   * One JSON line for one mutation of a target, `{ "audit": true, … }`; never filtered by level.
   */
  audit(fields: LogFields): void;
}

/** The real world. */
export function makeWorld(log: Logger): World {
  return {
    now: () => Date.now(),
    monotonic: () => performance.now(),
    random: () => Math.random(),
    sleep: sleepOnTimer,
    fetch: (input, init) => globalThis.fetch(input, init),
    log,
  };
}

function sleepOnTimer(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** 104 random bits as 26 base-16 characters: names a writer or a delivery, never a secret. */
export function randomId(world: Pick<World, "random">): string {
  const draw = () =>
    Math.floor(world.random() * 2 ** 52)
      .toString(16)
      .padStart(13, "0");
  return draw() + draw();
}

/**
 * A clock that shows at any time at least as much as passed since it was made: it goes on by the
 * larger of what the wall clock and the monotonic one say. Somebody may set the one back, and the
 * other stands still where an instance of a function is frozen between two runs.
 */
export function onwardClock({ now, monotonic }: Pick<World, "now" | "monotonic">): () => number {
  let seen = { wall: now(), steady: monotonic() };
  let at = seen.wall;
  return () => {
    const next = { wall: now(), steady: monotonic() };
    at += Math.max(0, next.wall - seen.wall, next.steady - seen.steady);
    seen = next;
    return at;
  };
}

/**
 * Runs `work` with a signal that aborts after `ms` on the world's clock or with `outer`.
 * The work is always awaited to its end, so nothing of it is running when this returns: a call that
 * does not honour its signal delays the caller, and must therefore honour it.
 */
export async function withTimeout<T>(
  world: Pick<World, "sleep">,
  ms: number,
  options: { readonly signal?: AbortSignal | undefined; readonly reason: () => Error },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const timeout = new AbortController();
  const done = new AbortController();
  const signal = options.signal
    ? AbortSignal.any([options.signal, timeout.signal])
    : timeout.signal;
  const alarm = world.sleep(ms, done.signal).then(
    () => timeout.abort(options.reason()),
    () => undefined,
  );
  try {
    return await work(signal);
  } finally {
    done.abort();
    await alarm;
  }
}

/**
 * The text of an answer, or null when it is longer, inflated or not: nobody fills our memory. What
 * is left of it then is not read.
 */
export async function textWithin(response: Response, bytesMax: number): Promise<string | null> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    // Leaving the loop cancels the rest.
    if (bytes > bytesMax) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
