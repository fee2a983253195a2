import type { ProxyOptions } from "./proxy.ts";

/** A tap for a proxy in front of the cloud that springs at one moment of one API call. */
export interface Trap {
  readonly tap: NonNullable<ProxyOptions["tap"]>;
  /**
   * Arms the trap for the next call of `action`. `spring` runs while the call hangs in the air:
   * before the cloud has heard of it, or when the cloud has carried it out and its answer is on
   * the way. Then the request, or the answer, is lost.
   */
  set(action: string, moment: Moment, spring: () => Promise<void>): void;
  sprung(): boolean;
}

export type Moment = "before the cloud hears of it" | "before its answer arrives";

export function makeTrap(): Trap {
  let armed: { action: string; moment: Moment; spring: () => Promise<void> } | null = null;
  let passed = false;
  return {
    async tap(piece, direction) {
      if (armed === null) return;
      if (direction === "up" && piece.includes(`Action=${armed.action}&`)) passed = true;
      const early = armed.moment === "before the cloud hears of it";
      if (!passed || direction !== (early ? "up" : "down")) return;
      const { action, spring } = armed;
      armed = null;
      await spring();
      throw new Error(`The trap lost a piece of ${action}`);
    },
    set(action, moment, spring) {
      armed = { action, moment, spring };
      passed = false;
    },
    sprung: () => armed === null,
  };
}
