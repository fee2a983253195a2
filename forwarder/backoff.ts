import type { World } from "../lib/world.ts";

export interface Backoff {
  readonly firstMs: number;
  readonly lastMs: number;
}

/**
 * How long to wait before the next attempt, after `failures` failures in a row (1 or more): the
 * first
 * delay doubled for each further one, up to the last; then drawn from its upper half, so that many
 * forwarders do not come back at one moment.
 */
export function backoffMs(
  failures: number,
  { firstMs, lastMs }: Backoff,
  world: Pick<World, "random">,
): number {
  const doublings = Math.min(Math.max(0, failures - 1), DOUBLINGS_MAX);
  const whole = Math.min(lastMs, 2 * firstMs * 2 ** doublings);
  return Math.max(firstMs, Math.round(whole / 2 + (world.random() * whole) / 2));
}

const DOUBLINGS_MAX = 30;

/** `ms` ± `share` of it. */
export function spread(ms: number, share: number, world: Pick<World, "random">): number {
  return Math.round(ms * (1 - share + 2 * share * world.random()));
}
