import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { type Child, startChild } from "../e2e/child.ts";
import { eventually } from "../e2e/eventually.ts";

/** A process that is measured from outside, by what the kernel counts for it (proc(5)). */
export interface Subject extends Child {
  /** {@link clockMs} right before it was made. */
  readonly startedAt: number;
  /** Resolves with the time at which it logged that its first list was complete. */
  listed(): Promise<number>;
  /** Resident megabytes, of 10^6 bytes: now, and at its peak so far. */
  memory(): { readonly now: number; readonly peak: number };
  /** Processor time of all its threads so far, user and system. */
  cpuMs(): number;
}

const WITHIN_MS = 120_000;
const LISTED = /^\{.*"event":"listed".*\}$/m;
/** proc(5) counts time in steps of a hundredth second, whatever the kernel's own. */
const TICK_MS = 10;

/**
 * The time by the monotonic clock that all processes of this machine share, in milliseconds of the
 * Unix epoch.
 */
export function clockMs(monotonic: bigint = process.hrtime.bigint()): number {
  return Number(monotonic - ZERO) / 1e6 + ZERO_MS;
}

const ZERO = process.hrtime.bigint();
const ZERO_MS = performance.timeOrigin + performance.now();

/** Starts a program with this Node. */
export async function startSubject(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Subject> {
  const startedAt = clockMs();
  const child = await startChild(process.execPath, args, {
    env: { PATH: process.env.PATH ?? "", HOME: tmpdir(), ...env },
    folder: tmpdir(),
  });
  const read = (name: string) => readFileSync(`/proc/${child.pid}/${name}`, "utf8");
  return {
    ...child,
    startedAt,
    async listed() {
      const find = () => LISTED.exec(child.stderr())?.[0];
      const line = await eventually("the first list is complete", find, {
        withinMs: WITHIN_MS,
        hopeless: () => (child.exit() === null ? null : `it ended: ${child.output()}`),
      });
      return Date.parse(JSON.parse(line).timestamp);
    },
    memory() {
      const status = read("status");
      const of = (name: string) =>
        (Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]) * 1_024) / 1e6;
      return { now: of("VmRSS"), peak: of("VmHWM") };
    },
    cpuMs() {
      // Behind the name, which is in brackets: fields 3 and on; utime and stime are 14 and 15.
      const fields = read("stat").split(") ").at(-1)?.split(" ") ?? [];
      return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
    },
  };
}
