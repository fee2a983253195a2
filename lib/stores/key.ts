import { StoreError } from "./store.ts";

/** S3 takes 1,024 bytes and OSS 1,023; the rest is room for whatever a bucket puts in front. */
const KEY_LENGTH_MAX = 1_000;

// 255 is the longest name of a file. No segment begins with a dot: that keeps `.` and `..` out, and
// leaves hidden names to the stores themselves.
const SEGMENT = /^[a-z0-9-][a-z0-9.-]{0,254}$/;
const SEGMENT_START = /^(?:[a-z0-9-][a-z0-9.-]{0,254})?$/;

const PROBLEM =
  "not made of [a-z0-9.-] between single slashes, or too long; rename what it stands for";

/** Whether `name` may stand between two slashes of a key. */
export function isSegment(name: string): boolean {
  return SEGMENT.test(name);
}

/**
 * Rejects with StoreError what is not a key: anything but `[a-z0-9./-]`, empty or hidden segments,
 * absolute paths, `..`.
 */
export function checkKey(key: string): void {
  if (key.length <= KEY_LENGTH_MAX && key.split("/").every(isSegment)) return;
  throw new StoreError(`Cannot use key ${JSON.stringify(key)}: ${PROBLEM}`);
}

/** As {@link checkKey}, for the beginning of a key: the last segment may be empty or unfinished. */
export function checkPrefix(prefix: string): void {
  const segments = prefix.split("/");
  const last = segments.pop() ?? "";
  if (prefix.length <= KEY_LENGTH_MAX && segments.every(isSegment) && SEGMENT_START.test(last)) {
    return;
  }
  throw new StoreError(`Cannot list prefix ${JSON.stringify(prefix)}: ${PROBLEM}`);
}
